"""The AskingReward interface: a reward that asks people, who answer when they can, or do not."""

from abc import abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path

from zoo.prompt import Prompt
from zoo.reward.base import Images, Reward


class AskingReward(Reward):
    """A reward that compares the images of a prompt by what people say of them.

    It asks while a run trains, in its one process: a recipe that has it makes no others, and
    evaluations cannot have it.
    """

    groupwise = True

    @property
    @abstractmethod
    def patience(self) -> float:
        """Seconds that a call of `score` may wait for answers, beside those of scoring.timeout."""

    @abstractmethod
    def beside(self, run_dir: Path) -> AbstractContextManager[None]:
        """Around a run's epochs: what it needs to ask people; the run's folder keeps the answers.

        Raises:
            UserError: it cannot ask.
        """

    @abstractmethod
    def expect(self, images: Images, prompt: Prompt) -> None:
        """Told of each group of a collection, so that people are asked about all of them at once.

        `score` is called with each in turn, and `rest` after the last.
        """

    @abstractmethod
    def hurry(self) -> None:
        """Until the next `rest`, calls of `score` come back at once, with the answers so far.

        The run is to stop, or will not learn from these images. Called from another thread than
        theirs, maybe often.
        """
