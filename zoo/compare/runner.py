"""The contest: every run that the suite asks for, reused, resumed or run; what came of them."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.compare import reuse as earlier
from zoo.compare.planned_runs import Entrant
from zoo.compare.process import Runner, last_error
from zoo.compare.results import Contender, Contest, Failed, Target
from zoo.compare.suite import Budget, Written
from zoo.errors import UserError
from zoo.run.folder import environment
from zoo.run.record import RunRecord, read_run
from zoo.storage import files as json_file

RUNS, RECIPES, LOGS, SUITE = "runs", "recipes", "logs", "suite.json"
"""In a comparison's folder."""


@dataclass
class Held:
    """A suite's runs in a folder, and what has come of them so far."""

    written: Written
    entrants: Sequence[Entrant]
    budget: Budget
    out: Path
    say: Callable[[str], None]
    failed: dict[str, Failed] = field(default_factory=dict)
    took: dict[str, list[float]] = field(default_factory=dict)

    def hold(self, runner: Runner) -> None:
        """Makes all runs that are not made yet; ends early when a signal asks for it."""
        self._write()
        for index, entrant in enumerate(self.entrants):
            if runner.asked:
                return
            head = f"{index + 1}/{len(self.entrants)} {entrant.contender}, seed {entrant.seed}:"
            found = self._find(entrant)
            for other in found.others:
                self.say(f"{head} {other}")
            if found.best is not None and found.best.has_ended:
                self.say(f"{head} reused, {said_of(read_run(found.best.folder))}")
                continue
            self._make(entrant, found.best, head, runner)
            left = self._left(index + 1)
            if left and not runner.asked:
                self.say(f"about {_duration(left)} left")

    def contest(self, command: str) -> Contest:
        """What there is now: only runs that came to their end are runs of it."""
        suite = self.written.suite
        runs: dict[str, dict[int, RunRecord]] = {name: {} for name in suite.contenders}
        failed: dict[str, list[Failed]] = {name: [] for name in suite.contenders}
        for entrant in self.entrants:
            found = self._find(entrant).best
            if found is not None and found.has_ended:
                runs[entrant.contender][entrant.seed] = read_run(found.folder)
            elif entrant.name in self.failed:
                failed[entrant.contender].append(self.failed[entrant.name])
            elif found is not None:
                why = f"interrupted after epoch {found.epoch}; the same command goes on with it"
                failed[entrant.contender].append(self._failed(entrant, why))
        return Contest(
            suite.name, suite.about, self.budget.spent, suite.seeds,
            tuple(
                Contender(name, fragment, runs[name], tuple(failed[name]))
                for name, fragment in suite.contenders.items()
            ),
            tuple(Target(each.label, each.at_least) for each in suite.targets),
            command,
        )  # fmt: skip

    def _make(
        self, entrant: Entrant, begun: earlier.Earlier | None, head: str, runner: Runner
    ) -> None:
        """Runs it, or goes on with it; a failure is kept, and loses no other."""
        log = self.out / LOGS / f"{entrant.name}.log"
        arguments = ["train", str(self.out / RECIPES / f"{entrant.name}.json")]
        if begun is not None:
            arguments = ["train", "--resume", str(begun.folder)]
            self.say(f"{head} goes on from epoch {begun.epoch}")
        else:
            self.say(f"{head} starts")
        start, began = log.stat().st_size if log.is_file() else 0, time.monotonic()
        code = runner.run(arguments, log)
        found = self._find(entrant).best
        if found is not None and found.has_ended:
            if begun is None:
                self.took.setdefault(entrant.contender, []).append(time.monotonic() - began)
            resumed = "" if begun is None else f", resumed from epoch {begun.epoch}"
            self.say(f"{head} {said_of(read_run(found.folder))}{resumed}")
        elif not runner.asked:
            why = last_error(log, start, code) if code else _NO_END
            self.failed[entrant.name] = self._failed(entrant, why)
            self.say(f"{head} failed, {why} ({log})")
        else:
            self.say(f"{head} interrupted")

    def _find(self, entrant: Entrant) -> earlier.Found:
        return earlier.find(
            self.out / RUNS / entrant.name, entrant.recipe, environment(entrant.recipe)
        )

    def _failed(self, entrant: Entrant, why: str) -> Failed:
        return Failed(entrant.seed, why, f"{LOGS}/{entrant.name}.log")

    def _left(self, done: int) -> float:
        """Seconds that the runs to come may take, from those that were run here; 0: not known."""
        every = [each for times in self.took.values() for each in times]
        if not every:
            return 0.0
        total = 0.0
        for entrant in self.entrants[done:]:
            found = self._find(entrant).best
            if found is None or not found.has_ended:
                total += statistics.fmean(self.took.get(entrant.contender, every))
        return total

    def _write(self) -> None:
        """The suite and the recipes that are run."""
        try:
            for name in (RECIPES, LOGS, RUNS):
                (self.out / name).mkdir(parents=True, exist_ok=True)
            json_file.write(self.out / SUITE, self.written.suite.model_dump(mode="json"))
            for each in self.entrants:
                recipe: Mapping[str, Any] = each.recipe.resolved()
                json_file.write(self.out / RECIPES / f"{each.name}.json", recipe)
        except OSError as error:
            raise UserError(f"--out {self.out} cannot be written: {error.strerror}") from error


def said_of(run: RunRecord) -> str:
    """A run that has ended, in a line: epochs, seconds, its last scores."""
    last = run.metrics[-1] if run.metrics else {}
    seconds = last.get("seconds") or math.nan
    scores = [
        f"{label} {value:.4g}"
        for label in run.rewards
        if (value := (run.evaluated[-1].get(f"eval/{label}") if run.evaluated else None))
        is not None
    ]
    told = f"{last.get('epoch', 0):g} epochs, {_duration(seconds)}"
    return f"{told}: {', '.join(scores)}" if scores else told


_NO_END = "it left no run that was asked for: was code changed meanwhile? run the command again"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds) or seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
