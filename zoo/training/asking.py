"""Rewards that ask people: they can while a run's epochs go on, and keep what is said with it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from zoo.reward.asking import AskingReward
from zoo.training.build import Run


@contextmanager
def asking_beside(run: Run, run_dir: Path) -> Iterator[None]:
    """Inside, people can be asked by the rewards of all stages.

    Raises:
        UserError: a reward cannot ask.
    """
    rewards = [judged.reward for stage in run.stages for judged in stage.collector.judge.rewards]
    with ExitStack() as stack:
        # Stages share rewards.
        for reward in dict.fromkeys(rewards):
            if isinstance(reward, AskingReward):
                stack.enter_context(reward.beside(run_dir))
        yield
