"""The order of a suite's runs, what is done again and what is not, and what a failure leaves."""

import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from zoo import json_file
from zoo.comparison import Contender, Contest, Failed, Target
from zoo.contest.found import found, newest
from zoo.run_dir import END
from zoo.run_record import RunRecord, read_run
from zoo.suite import Entry, Loaded

RECIPES, RUNS, LOGS = "recipes", "runs", "logs"
"""In a comparison's folder."""

_TAIL = 20_000
"""Bytes of a log that its last error is looked for in."""


@runtime_checkable
class Runner(Protocol):
    """Runs `zoo` with arguments, appending what it says to a log; gives its exit code."""

    asked: list[int]
    """The signals that have come so far."""

    def run(self, arguments: list[str], log: Path) -> int:
        """Waits for its end."""


Say = Callable[[str], None]


@dataclass
class Results:
    """What there is so far, by the entries' names."""

    loaded: Loaded
    command: str
    runs: dict[str, RunRecord] = field(default_factory=dict)
    failed: dict[str, Failed] = field(default_factory=dict)

    @property
    def num_open(self) -> int:
        """Runs that are neither done nor have failed."""
        return len(self.loaded.entries) - len(self.runs) - len(self.failed)

    def contest(self) -> Contest:
        """All of it, contenders in the suite's order."""
        suite = self.loaded.suite
        contenders = []
        for name, written in suite.contenders.items():
            mine = [entry for entry in self.loaded.entries if entry.contender == name]
            runs = {e.seed: self.runs[e.name] for e in mine if e.name in self.runs}
            failed = [self.failed[e.name] for e in mine if e.name in self.failed]
            contenders.append(Contender(name, written or {}, runs, tuple(failed)))
        return Contest(
            suite.name,
            " ".join(suite.about.split()),
            suite.budget.model_dump(exclude_none=True),
            suite.seeds,
            tuple(contenders),
            tuple(Target(each.label, each.at_least) for each in suite.targets),
            self.command,
        )


def run_all(loaded: Loaded, out: Path, runner: Runner, command: str, say: Say) -> Results:
    """Runs what is not there yet, one after another, until a signal comes.

    One after another because timings are compared, and by seed, so that what an interrupted suite
    leaves is of all contenders. Nothing is deleted: a run by other code stays beside the new one.
    """
    results = Results(loaded, command)
    for folder in (RECIPES, RUNS, LOGS):
        (out / folder).mkdir(parents=True, exist_ok=True)
    json_file.write(out / "suite.json", loaded.suite.model_dump(mode="json"))
    seconds: list[float] = []
    for number, entry in enumerate(loaded.entries, 1):
        started = time.perf_counter()
        place = f"{number}/{len(loaded.entries)}"
        say(f"{place} {entry.contender}, seed {entry.seed}: {_what(entry, out)}")
        ran = _run(entry, out, runner, results)
        if runner.asked:
            return results
        if ran:
            seconds.append(time.perf_counter() - started)
        say(f"    {_told(entry, results)}{_left(seconds, len(loaded.entries) - number)}")
    return results


def _run(entry: Entry, out: Path, runner: Runner, results: Results) -> bool:
    """Makes sure that there is a run; whether anything had to be done."""
    parent, log = _parent(entry, out), out / LOGS / f"{entry.name}.log"
    before = found(parent, entry.recipe)
    if before is not None and before.finished:
        results.runs[entry.name] = read_run(before.folder)
        return False
    if before is not None:
        arguments = ["train", "--resume", str(before.folder)]
    else:
        file = out / RECIPES / f"{entry.name}.json"
        json_file.write(file, entry.recipe.resolved())
        arguments = ["train", str(file)]
    with log.open("a") as lines:
        lines.write(f"$ {shlex.join(['zoo', *arguments])}\n")
    code = runner.run(arguments, log)
    after = found(parent, entry.recipe)
    if after is not None and after.finished:
        results.runs[entry.name] = read_run(after.folder)
    elif not runner.asked:
        results.failed[entry.name] = Failed(entry.seed, _why(code, log, parent), str(log))
    return True


def _parent(entry: Entry, out: Path) -> Path:
    return out / RUNS / entry.recipe.name


def _what(entry: Entry, out: Path) -> str:
    before = found(_parent(entry, out), entry.recipe)
    if before is None:
        return "running"
    return "there already" if before.finished else f"going on with {before.folder}"


def _told(entry: Entry, results: Results) -> str:
    if entry.name in results.failed:
        failed = results.failed[entry.name]
        return f"failed: {failed.why} ({failed.log})"
    run = results.runs[entry.name]
    last = run.metrics[-1]
    scores = [
        f"{label} {value:.3g}"
        for label in run.rewards
        if (value := last.get(f"eval/{label}")) is not None
    ]
    return f"{last['epoch']} epochs, {last['seconds']:.1f} s, {', '.join(scores)}"


def _left(seconds: list[float], runs: int) -> str:
    if not seconds or not runs:
        return ""
    left = sum(seconds) / len(seconds) * runs
    return f"; at most {left / 60:.0f} min to go" if left >= 90 else f"; at most {left:.0f} s to go"


def _why(code: int, log: Path, parent: Path) -> str:
    """The last error that a failed run has said, in a line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        lines = file.read().decode(errors="replace").splitlines()
    # What an earlier attempt said comes before this one's command.
    start = max((i for i, line in enumerate(lines) if line.startswith("$ zoo ")), default=-1)
    errors = [line for line in lines[start + 1 :] if re.match(r"error: ", line)]
    if errors:
        return errors[-1].removeprefix("error: ")
    if code < 0:
        return f"ended by signal {-code}" + (", which is how memory runs out" if code == -9 else "")
    run = newest(parent)
    ended = run is not None and (run / END).is_file()
    return f"exit code {code}" + (": its run is of another recipe or other code" if ended else "")
