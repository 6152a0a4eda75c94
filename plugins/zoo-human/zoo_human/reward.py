"""The reward `human`: people's votes on a run's images, while it waits for them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le

from zoo.errors import UserError
from zoo.prompt import Prompt
from zoo.reward.asking import AskingReward
from zoo.reward.base import Images, Scores
from zoo.run import votes
from zoo.terminal import say
from zoo_human.group import Group
from zoo_human.poll import Options, Poll
from zoo_human.server import Server

_LONGEST = 1e6
HOST, PORT = "127.0.0.1", 8300


class Human(AskingReward):
    """What people prefer: they compare the images of a prompt in their browsers.

    The address is said when the run starts. One vote picks the best and the worst image (scores 1
    and 0, the others 0.5), or ranks them (evenly from 1 to 0); an image's score is the mean over
    the people who voted, and 0.5 where nobody did or all skipped: such a group says nothing. Votes
    compare the images of a prompt, and measure no model: evaluate with other rewards. Every vote is
    kept in the run's folder at once, and a run that is resumed asks for none again; `zoo votes`
    makes a table of pairs of them. The metric `reward/human/votes` is how many voted on an image.
    """

    has_networks = False

    def __init__(
        self,
        *,
        wait: Annotated[float, Ge(0), Le(_LONGEST)] = 600.0,
        min_votes: Annotated[int, Ge(1)] = 1,
        host: str = HOST,
        port: Annotated[int, Ge(0), Le(65535)] = PORT,
    ) -> None:
        """An epoch waits until `min_votes` people voted on (or skipped) each of its groups.

        At most `wait` seconds from when its images are there: then it goes on with the votes that
        it has. The page is at `host`, by default for this machine alone, and `port`; 0 is any that
        is free.
        """
        self._options, self._host, self._port = Options(wait, min_votes), host, port
        self._poll: Poll | None = None
        self.address: str | None = None
        """Where people vote, while a run goes on."""

    @classmethod
    def check_start(cls, options: Mapping[str, Any]) -> None:
        """Looks whether the page can be where the options say.

        Raises:
            AddressError: it cannot.
        """
        Server(options.get("host", HOST), options.get("port", PORT)).server_close()

    @property
    def patience(self) -> float:
        """As long as an epoch waits."""
        return self._options.wait

    @contextmanager
    def beside(self, run_dir: Path) -> Iterator[None]:
        """Inside, the page is there, and votes are kept in the folder.

        Raises:
            AddressError: the page cannot be at its address.
            DamagedFileError: an earlier vote is not what was written.
        """
        known = votes.read(run_dir)
        server = Server(self._host, self._port)
        self._poll = Poll(
            self._options, lambda vote, pictures: votes.append(run_dir, vote, pictures), known
        )
        self.address = server.address
        say(f"people vote at {server.address}; an epoch waits {self.patience:g} s at most")
        try:
            with server.open_to(self._poll):
                yield
        finally:
            self._poll = self.address = None

    def expect(self, images: Images, prompt: Prompt) -> None:
        """Shows the images; one alone has nothing to be compared with."""
        if len(images) > 1:
            self._asking().ask(Group.of(images, prompt))

    def score(self, images: Images, prompts: Sequence[Prompt]) -> Scores:
        """One group's images, as people prefer them; waits for votes on all of the round.

        Raises:
            UserError: no run goes on.
        """
        poll, merged = self._asking(), None
        if len(images) > 1:
            group = Group.of(images, prompts[0])
            poll.ask(group)
            merged = poll.answers(group)
        value = [0.5] * len(images) if merged is None else merged.preference
        count = 0 if merged is None else merged.num_votes
        return Scores(
            torch.tensor(value, dtype=torch.float64, device=images.device),
            {"votes": torch.full((len(images),), float(count), dtype=torch.float64)},
        )

    def hurry(self) -> None:
        """Waits no longer for votes on this epoch."""
        if self._poll is not None:
            self._poll.hurry()

    def rest(self) -> None:
        """The epoch has its votes."""
        if self._poll is not None:
            self._poll.end_round()

    def _asking(self) -> Poll:
        if self._poll is None:
            raise UserError(
                "the reward 'human' asks people while a run trains, and none does: it scores in "
                "zoo train alone; name other rewards"
            )
        return self._poll
