"""The comparison: every run that the suite asks for, reused, resumed or run; what came of them."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.compare import reuse
from zoo.compare.planned_runs import PlannedRun
from zoo.compare.process import Process, ProcessRunner, last_error
from zoo.compare.results import Comparison, Contender, FailedRun
from zoo.compare.suite import Budget, LoadedSuite
from zoo.errors import UserError, suggest
from zoo.recipe.errors import RecipeError
from zoo.run.folder import environment
from zoo.run.record import RunRecord, read_run
from zoo.storage import files

RUNS, RECIPES, LOGS, SUITE = "runs", "recipes", "logs", "suite.json"
"""In a comparison's folder."""

_LOOK = 0.05
"""Seconds between two looks at whether a run has ended."""


@dataclass(frozen=True)
class Started:
    """A run that has been started, and what it began with."""

    planned: PlannedRun
    head: str
    begun: reuse.EarlierRun | None
    process: Process
    log: Path
    log_bytes: int
    place: Mapping[str, str]
    at: float = field(default_factory=time.monotonic)


@dataclass
class SuiteRunner:
    """A suite's runs in a folder, and what has come of them so far."""

    written: LoadedSuite
    planned: Sequence[PlannedRun]
    budget: Budget
    out: Path
    say: Callable[[str], None]
    failed: dict[str, FailedRun] = field(default_factory=dict)
    took: dict[str, list[float]] = field(default_factory=dict)

    def run_all(self, runner: ProcessRunner, places: Sequence[Mapping[str, str]] = ({},)) -> None:
        """Makes all runs that are not made yet; ends early when a signal asks for it.

        As many at once as there are `places`: the environment of each, which names its devices.
        """
        self._write()
        free, started = list(places), list[Started]()
        for index, planned in enumerate(self.planned):
            if not free:
                free += self._wait_for_one(started, runner)
            if runner.asked:
                break
            head = f"{index + 1}/{len(self.planned)} {planned.contender}, seed {planned.seed}:"
            reusable = self._find(planned)
            for other in reusable.others:
                self.say(f"{head} {other}")
            if reusable.best is not None and reusable.best.has_ended:
                run = read_run(reusable.best.folder)
                self.say(f"{head} reused, {describe_run(run)}")
                self._require_targets(planned, run)
                continue
            started.append(self._start(planned, reusable.best, head, runner, free.pop(0)))
        while started:
            self._wait_for_one(started, runner)

    def comparison(self, command: str) -> Comparison:
        """What there is now: only runs that came to their end are runs of it."""
        suite = self.written.suite
        runs: dict[str, dict[int, RunRecord]] = {name: {} for name in suite.contenders}
        failed: dict[str, list[FailedRun]] = {name: [] for name in suite.contenders}
        for planned in self.planned:
            earlier = self._find(planned).best
            if earlier is not None and earlier.has_ended:
                runs[planned.contender][planned.seed] = read_run(earlier.folder)
            elif planned.name in self.failed:
                failed[planned.contender].append(self.failed[planned.name])
            elif earlier is not None:
                why = f"interrupted after epoch {earlier.epoch}; the same command goes on with it"
                failed[planned.contender].append(self._failure(planned, why))
        return Comparison(
            suite.name, suite.about, self.budget.spent, suite.seeds,
            tuple(
                Contender(name, fragment, runs[name], tuple(failed[name]))
                for name, fragment in suite.contenders.items()
            ),
            suite.targets,
            command,
        )  # fmt: skip

    def _start(
        self,
        planned: PlannedRun,
        begun: reuse.EarlierRun | None,
        head: str,
        runner: ProcessRunner,
        place: Mapping[str, str],
    ) -> Started:
        """Starts it, or goes on with what is there of it."""
        log = self.out / LOGS / f"{planned.name}.log"
        arguments = ["train", str(self.out / RECIPES / f"{planned.name}.json")]
        if begun is not None:
            arguments = ["train", "--resume", str(begun.folder)]
            self.say(f"{head} goes on from epoch {begun.epoch}")
        else:
            self.say(f"{head} starts")
        size = log.stat().st_size if log.is_file() else 0
        return Started(planned, head, begun, runner.start(arguments, log, place), log, size, place)

    def _wait_for_one(
        self, started: list[Started], runner: ProcessRunner
    ) -> list[Mapping[str, str]]:
        """Takes out those that have ended, one at least, and says so; the places they leave."""
        while not (ended := [run for run in started if run.process.poll() is not None]):
            time.sleep(_LOOK)
        for run in ended:
            started.remove(run)
            self._say_end(run, runner)
        left = self._left() / (len(started) + len(ended))
        if left and not runner.asked:
            self.say(f"about {_duration(left)} left")
        return [run.place for run in ended]

    def _say_end(self, started: Started, runner: ProcessRunner) -> None:
        """What came of it; a failure is kept, and loses no other."""
        planned, head = started.planned, started.head
        left = self._find(planned).best
        if left is not None and left.has_ended:
            resumed = f", resumed from epoch {started.begun.epoch}" if started.begun else ""
            if started.begun is None:
                took = time.monotonic() - started.at
                self.took.setdefault(planned.contender, []).append(took)
            run = read_run(left.folder)
            self.say(f"{head} {describe_run(run)}{resumed}")
            self._require_targets(planned, run)
        elif not runner.asked:
            code = started.process.poll()
            why = last_error(started.log, started.log_bytes, code) if code else _NO_END
            self.failed[planned.name] = self._failure(planned, why)
            self.say(f"{head} failed, {why} ({started.log})")
        else:
            self.say(f"{head} interrupted")

    def _require_targets(self, planned: PlannedRun, run: RunRecord) -> None:
        """Refuses a target that no evaluation has: what rewards say besides is seen there alone.

        Raises:
            RecipeError: with what they have.
        """
        scored = {key.removeprefix("eval/"): None for line in run.evaluated for key in line
                  if key.startswith("eval/")}  # fmt: skip
        for i, target in enumerate(self.written.suite.targets):
            if scored and target.label not in scored:
                raise RecipeError(
                    f"{self.written.place('targets', i, 'label')}: targets.{i}.label: "
                    f"'{target.label}' is not in the evaluations of contender "
                    f"'{planned.contender}'{suggest(target.label, list(scored), 'scored')}"
                )

    def _find(self, planned: PlannedRun) -> reuse.Reusable:
        return reuse.find_reusable(
            self.out / RUNS / planned.name, planned.recipe, environment(planned.recipe)
        )

    def _failure(self, planned: PlannedRun, why: str) -> FailedRun:
        return FailedRun(planned.seed, why, f"{LOGS}/{planned.name}.log")

    def _left(self) -> float:
        """Seconds of runs that are to come yet, from those that were run here; 0: not known."""
        every = [seconds for times in self.took.values() for seconds in times]
        if not every:
            return 0.0
        total = 0.0
        for planned in self.planned:
            earlier = self._find(planned).best
            if planned.name not in self.failed and (earlier is None or not earlier.has_ended):
                total += statistics.fmean(self.took.get(planned.contender, every))
        return total

    def _write(self) -> None:
        """The suite and the recipes that are run."""
        try:
            for name in (RECIPES, LOGS, RUNS):
                (self.out / name).mkdir(parents=True, exist_ok=True)
            files.write(self.out / SUITE, self.written.suite.model_dump(mode="json"))
            for planned in self.planned:
                recipe: Mapping[str, Any] = planned.recipe.resolved()
                files.write(self.out / RECIPES / f"{planned.name}.json", recipe)
        except OSError as error:
            raise UserError(f"--out {self.out} cannot be written: {error.strerror}") from error


def describe_run(run: RunRecord) -> str:
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
