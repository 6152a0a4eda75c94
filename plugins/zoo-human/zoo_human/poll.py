"""What is asked, who has answered, and how long the run waits: shared by the run and the page.

A round is the groups of one epoch. It is decided when each has as many answers as are wanted, or
its time is over. Votes on the round before are still taken, until the next one is over: they come
too late for the run, and are kept.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from annotated_types import Ge, MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, StringConstraints

from zoo.errors import UserError
from zoo.run.votes import Merged, Vote, merge
from zoo_human.group import Group

_LOOKING = 10.0
"""Seconds after which who was shown a group, and has not asked again, has left."""
_BETWEEN_LOOKS = 0.5

Keep = Callable[[Vote, Mapping[str, bytes]], None]
"""Given a vote and its images' files by name: they are on the disk when it returns."""

Tier = tuple[Annotated[int, Ge(0)], ...]


class Ballot(BaseModel):
    """What a page sends: images best first, those that are not told apart together.

    The best and the worst of four are [[2], [0, 3], [1]]; none is a skip.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: str
    voter: Annotated[str, StringConstraints(strip_whitespace=True), MinLen(1), MaxLen(60)]
    ranking: tuple[Tier, ...]


class BallotError(UserError):
    """A ballot that cannot be counted."""


class GoneError(BallotError):
    """It is on images that nobody is asked about any more."""


@dataclass(frozen=True)
class Options:
    """How long a round may take, in seconds, and how many answers each of its groups needs."""

    wait: float
    min_votes: int


class Poll:
    """The groups that people are asked about, and their answers; any thread may call it."""

    def __init__(self, options: Options, keep: Keep, known: Iterable[Vote]) -> None:
        """Votes that are `known` need not be given again."""
        self._options, self._keep = options, keep
        self._changed = threading.Condition()
        self._votes: defaultdict[str, dict[str, Vote]] = defaultdict(dict)
        self._num_votes = 0
        for vote in known:
            self._count(vote)
        self._round: dict[str, Group] = {}
        self._before: dict[str, Group] = {}
        self._until: float | None = None
        self._looking: dict[str, tuple[str, float]] = {}
        self._hurried = False
        self._pictured: set[str] = set()

    def ask(self, group: Group) -> None:
        """Asks about one more group; the first of a round starts its time."""
        with self._changed:
            if self._until is None:
                self._before, self._round = self._round, {}
                self._until = time.monotonic() + self._options.wait
            self._round.setdefault(group.id, group)

    def answers(self, group: Group) -> Merged | None:
        """Waits until the round is decided; what people prefer of the group, if anything."""
        with self._changed:
            while not self._is_decided():
                self._changed.wait(_BETWEEN_LOOKS)
            return merge(self._votes[group.id].values()).get(group.id)

    def end_round(self) -> None:
        """The run goes on."""
        with self._changed:
            self._until, self._hurried = None, False

    def hurry(self) -> None:
        """This round is waited for no longer."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def vote(self, ballot: Ballot) -> bool:
        """Keeps a vote, in place of an earlier one of the same person; whether it is in time.

        Raises:
            GoneError: the images are none that people are asked about.
            BallotError: its ranking is not of all images, each once.
            WriteError: it cannot be kept.
        """
        group = self.group(ballot.group)
        if group is None:
            raise GoneError("the run has gone on, and these images with it")
        vote = Vote(
            prompt=group.prompt,
            images=group.names,
            preference=preferences(ballot.ranking, len(group.names)),
            group=group.id,
            voter=ballot.voter,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        # Others are not held up while a group's first vote has its images encoded.
        places = range(len(group.names)) if group.id not in self._pictured else ()
        pictures = {group.names[i]: group.png(i) for i in places}
        with self._changed:
            self._keep(vote, pictures)
            self._pictured.add(group.id)
            self._count(vote)
            self._looking.pop(vote.voter, None)
            self._changed.notify_all()
            return self._is_asking() and group.id in self._round

    def group(self, name: str) -> Group | None:
        """The group of that id, of this round or the one before."""
        with self._changed:
            return self._round.get(name) or self._before.get(name)

    def view(self, voter: str, at: str) -> dict[str, Any]:
        """What the page of a person shows, as JSON has it, who is looking at the group `at`."""
        with self._changed:
            shown = self._next(voter, at) if self._is_asking() else None
            if shown is not None:
                self._looking[voter] = (shown.id, time.monotonic())
            return {
                "group": None if shown is None else self._shown(shown),
                "asking": self._is_asking(),
                "left": max(0.0, (self._until or 0.0) - time.monotonic()),
                "groups": len(self._round),
                "done": sum(map(self._is_answered, self._round)),
                "votes": self._num_votes,
            }

    def _shown(self, group: Group) -> dict[str, Any]:
        return {
            "id": group.id,
            "prompt": group.prompt,
            "images": len(group.names),
            "inputs": len(group.inputs),
            "number": list(self._round).index(group.id) + 1,
        }

    def _next(self, voter: str, at: str) -> Group | None:
        """The same as long as it is open to the person; else one that others leave undone."""
        now = time.monotonic()
        others = {
            seen
            for other, (seen, since) in self._looking.items()
            if other != voter and now - since < _LOOKING
        }
        open_to = [each for each in self._round if voter not in self._votes[each]]
        if at in open_to:
            return self._round[at]
        first = min(
            open_to,
            key=lambda each: (self._is_answered(each), each in others, len(self._votes[each])),
            default=None,
        )
        return None if first is None else self._round[first]

    def _count(self, vote: Vote) -> None:
        self._num_votes += 1
        self._votes[vote.group][vote.voter] = vote

    def _is_answered(self, name: str) -> bool:
        return len(self._votes[name]) >= self._options.min_votes

    def _is_asking(self) -> bool:
        return self._until is not None and not self._hurried

    def _is_decided(self) -> bool:
        over = self._until is None or time.monotonic() >= self._until
        return over or self._hurried or all(map(self._is_answered, self._round))


def preferences(ranking: tuple[Tier, ...], num_images: int) -> tuple[float, ...]:
    """Of a ranking, evenly spaced: 1 for the best, 0 for the worst; 0.5 for all of a skip.

    Raises:
        BallotError: it has not all images, each once.
    """
    tiers = [tier for tier in ranking if tier]
    placed = sorted(place for tier in tiers for place in tier)
    if tiers and placed != list(range(num_images)):
        raise BallotError(
            f"a ranking has each of the {num_images} images once, from 0 to {num_images - 1}; this "
            f"one has {placed!s:.60}"
        )
    if len(tiers) < 2:
        return (0.5,) * num_images
    value = {place: 1 - i / (len(tiers) - 1) for i, tier in enumerate(tiers) for place in tier}
    return tuple(value[place] for place in range(num_images))
