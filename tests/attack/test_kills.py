"""Runs that are killed at random instants, again and again: nothing is lost, nothing differs."""

import logging
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests import forked
from tests.attack.cases import cases, draw_of, part_of
from tests.runs import (
    RECIPES,
    clean_environment,
    metrics,
    only_run,
    overrides,
    require_same,
)
from zoo.run import checkpoint, evaluations
from zoo.run.record import read_run

KILLS_A_RUN = 12
GROUPS = {
    "data__groups_per_epoch": 2, "data__group_size": 3, "sampler__steps": 2, "epochs": 5,
    "engine__device": "cpu",
}  # fmt: skip


class Life:
    """A run from its start to its end, killed on the way."""

    def __init__(self, out: Path, processes: int) -> None:
        self.out = out
        changes = {**GROUPS, "engine__processes": processes}
        self.fresh = ["train", RECIPES["nft"], *overrides("nft", out, **changes)]
        self.saved = -1
        self.seconds = 0.0

    def arguments(self) -> list[str]:
        """To begin, or to go on where there is something to go on from."""
        folders = list(self.out.glob("*/*"))
        going_on = [folder for folder in folders if checkpoint.latest(folder)]
        if going_on:
            (folder,) = going_on
            return ["train", "--resume", str(folder)]
        for folder in folders:
            subprocess.run(["rm", "-r", folder], check=True)
        return [str(word) for word in self.fresh]

    def kill(self, after: float) -> int:
        """Starts it, and kills it after so many seconds; its exit code."""
        return self._run(["zoo", *self.arguments()], after)

    def kill_at(self, number: int) -> int:
        """The same, at its n-th change of a file."""
        words = ["tests.attack.dies_at", str(number), str(self.out), *self.arguments()]
        return self._run(words, 120)

    def _run(self, words: list[str], seconds: float) -> int:
        for _ in range(100):
            with tempfile.TemporaryFile("w+") as said:
                process = forked.start(words, clean_environment(), said, said)
                try:
                    code = process.wait(seconds)
                except subprocess.TimeoutExpired:
                    os.kill(process.pid, signal.SIGKILL)
                    code = process.wait(30)
                said.seek(0)
                text = said.read()
            # Workers of a killed launcher take a moment to notice.
            if "is in use" not in text:
                assert code in (0, -signal.SIGKILL), text
                return code
            time.sleep(0.1)
        pytest.fail(text)

    def require_nothing_lost(self) -> None:
        """What was saved is there, whole, and no file of the run's record is damaged."""
        for folder in self.out.glob("*/*"):
            newest = checkpoint.latest(folder)
            if newest is None:
                assert self.saved < 0
                continue
            found = checkpoint.load(newest)
            for name in found.tensors:
                assert found.tensors[name] is not None
            assert found.epoch >= self.saved
            self.saved = found.epoch
            record = read_run(folder)
            assert record.damaged == ()
            epochs = [line["epoch"] for line in metrics(folder) if line["epoch"] <= found.epoch]
            assert epochs == list(range(found.epoch + 1))


def require_as_unbroken(run: Path, unbroken: Path) -> None:
    require_same(run, unbroken)
    assert list(evaluations.read(run)) != []
    for mine, theirs in zip(evaluations.read(run), evaluations.read(unbroken), strict=True):
        assert mine.scores == theirs.scores
        assert mine.picture.read_bytes() == theirs.picture.read_bytes()
    assert (run / "end.json").read_text() == (unbroken / "end.json").read_text()
    hidden = {path.name for path in run.rglob(".*")}
    assert hidden <= {path.name for path in unbroken.rglob(".*")}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A run to its end, and the seconds that it took; of one process."""
    out = tmp_path_factory.mktemp("unbroken")
    life = Life(out, 1)
    life.kill(300)  # what is imported late is so once more
    subprocess.run(["rm", "-r", *out.glob("*/*")], check=True)
    start = time.monotonic()
    assert life.kill(300) == 0
    return only_run(out), time.monotonic() - start


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "goal"), [(1, 900), (2, 100)])
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    processes, goal, unbroken, tmp_path
):
    expected, seconds = unbroken
    if processes > 1:
        start = time.monotonic()
        assert Life(tmp_path / "two", processes).kill(300) == 0
        expected, seconds = only_run(tmp_path / "two"), time.monotonic() - start
    kills = 0
    for number in cases(goal):
        kills += killed_run(number, processes, seconds, tmp_path, expected)
        if kills >= part_of(goal):
            break
    logging.getLogger(__name__).warning("%d kills of %d processes", kills, processes)


def killed_run(number, processes, seconds, folder, expected):
    """One run, to its end; how often it was killed."""
    draw, kills = draw_of(f"kill {processes}", number), 0
    life = Life(folder / f"{number}", processes)
    for _ in range(KILLS_A_RUN):
        if processes == 1 and draw.random() < 0.5:
            code = life.kill_at(draw.randrange(1, 150))
        else:
            code = life.kill(draw.uniform(0.1, seconds))
        life.require_nothing_lost()
        kills += code != 0
        if not code:
            break
    else:
        assert life.kill(300) == 0
    require_as_unbroken(only_run(life.out), expected)
    subprocess.run(["rm", "-r", life.out], check=True)
    return kills
