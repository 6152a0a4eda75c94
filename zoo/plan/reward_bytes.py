"""What the rewards of a run take of its device, as they say it themselves."""

from collections.abc import Iterable
from dataclasses import dataclass

from zoo.recipe.model import Recipe
from zoo.recipe.sections import RewardEntry
from zoo.reward.base import NetworkBytes


@dataclass(frozen=True)
class RewardBytes:
    """Bytes of a run's rewards, each counted once however often it is named.

    `stay` on the device for the whole run, of all stages; `trained` are there besides while a stage
    scores what it trains on, and `evaluated` while it evaluates; these rest in the host's memory
    otherwise, where `on_host` always are. `unknown` are the labels of those that do not say.
    """

    stay: int = 0
    trained: int = 0
    evaluated: int = 0
    resting: int = 0
    on_host: int = 0
    unknown: tuple[str, ...] = ()

    @property
    def everywhere(self) -> int:
        """All of them together, which a run on the CPU has in its memory."""
        return self.stay + self.resting + self.on_host


def reward_bytes(run: Recipe, stage: Recipe) -> RewardBytes:
    """Those of a run in one of its stages; a run without stages is its own."""
    every = _distinct(entry for each in run.timeline for entry in _entries(each.recipe))
    known = {key: found for key, (_, found) in every.items() if found is not None}

    def total(entries: Iterable[RewardEntry], off: str) -> int:
        keys = {entry.made_from for entry in entries}
        return sum(known[key].size for key in keys if key in known and known[key].off == off)

    everyone = [entry for entry, _ in every.values()]
    judges = (stage.eval.rewards or stage.rewards) if stage.eval else ()
    return RewardBytes(
        stay=total(everyone, "never"),
        trained=total(stage.rewards, "resting"),
        evaluated=total(judges, "resting"),
        resting=total(everyone, "resting"),
        on_host=total(everyone, "always"),
        unknown=tuple(dict.fromkeys(e.label for e, found in every.values() if found is None)),
    )


def _entries(recipe: Recipe) -> tuple[RewardEntry, ...]:
    return (*recipe.rewards, *(recipe.eval.rewards if recipe.eval else ()))


def _distinct(
    entries: Iterable[RewardEntry],
) -> dict[object, tuple[RewardEntry, NetworkBytes | None]]:
    found: dict[object, tuple[RewardEntry, NetworkBytes | None]] = {}
    for entry in entries:
        if entry.made_from not in found:
            found[entry.made_from] = (entry, entry.cls.network_bytes(entry.options))
    return found
