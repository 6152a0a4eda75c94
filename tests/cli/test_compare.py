"""`zoo compare` on real runs: killed and restarted, stopped, failing, reused."""

import json
import os
import re
import signal

import pytest

from tests.compare.suites import BOTH, SMALL, write
from tests.processes import children_of, hanging_reward, wait_until
from tests.runs import metrics, without_clocks, zoo

SUITE = {"budget": "{epochs: 8}", "seeds": "[0]"}
RAISES = (
    "from pathlib import Path\n\n\ndef score(images, prompts):\n"
    "    if {path}.exists():\n        raise ValueError('the reward is out')\n"
    "    return images.mean(dim=(1, 2, 3))\n"
)


def recorded(out, run, count):
    """Whether a run has so many lines of metrics."""
    found = out.glob(f"runs/{run}/*/metrics.jsonl")
    return any(file.read_text().count("\n") >= count for file in found)


def numbers(out):
    """What the runs that ended have recorded, without the clocks."""
    return {
        end.parent.parent.name: without_clocks(metrics(end.parent))
        for end in sorted(out.glob("runs/*/*/end.json"))
    }


def folders(out):
    return sorted(path.relative_to(out) for path in out.glob("runs/*/*"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed comparison: its suite, its folder and what was said."""
    root = tmp_path_factory.mktemp("whole")
    suite = write(root, **SUITE)
    done = zoo("compare", suite, "--out", root / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    return suite, root / "out", done


def test_a_comparison_says_what_it_does_and_writes_the_report(whole):
    suite, out, done = whole
    lines = done.stdout.splitlines()
    assert lines[0] == "1/2 nft, seed 0: starts"
    assert lines[1].startswith("1/2 nft, seed 0: 8 epochs, ")
    assert re.search(r"judge (0\.\d+|1)$", lines[1])
    assert lines[2].startswith("about ")
    assert lines[-1] == f"report: {out / 'report.html'}"
    rows = [line.split() for line in lines[-5:-2]]
    assert rows[0][:2] == ["contender", "runs"]
    assert [row[:2] for row in rows[1:]] == [["nft", "1/1"], ["flow_grpo", "1/1"]]
    page = (out / "report.md").read_text()
    assert f"zoo compare {suite} --out {out}" in page
    assert set(numbers(out)) == {"nft_0", "flow_grpo_0"}
    assert "collecting and learning" in (out / "logs" / "nft_0.log").read_text()


@pytest.mark.slow
def test_two_runs_at_once_have_the_numbers_of_one_after_the_other(whole, tmp_path):
    suite, out, _ = whole
    done = zoo("compare", suite, "--out", tmp_path, "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "2 runs at once: their seconds are of a machine that they share"
    assert lines[1:3] == ["1/2 nft, seed 0: starts", "2/2 flow_grpo, seed 0: starts"]
    assert numbers(tmp_path) == numbers(out)
    assert f"zoo compare {suite} --out {tmp_path} --jobs 2" in (tmp_path / "report.md").read_text()


# What is reused is in tests/compare/test_runner.py.
@pytest.mark.slow
def test_a_second_start_reuses_all_and_a_new_seed_runs_only_that(whole):
    suite, out, _ = whole
    before = folders(out)
    again = zoo("compare", suite, "--out", out)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("reused") == 2
    assert "starts" not in again.stdout
    assert folders(out) == before
    more = zoo("compare", suite, "--out", out, "-s", "seeds=[0, 1]", "-s", "contenders.nft={}")
    assert more.returncode == 0, more.stderr
    assert more.stdout.count("reused") == more.stdout.count("starts") == 2
    assert len(folders(out)) == len(before) + 2


@pytest.mark.slow
def test_a_comparison_killed_and_restarted_has_the_same_numbers(whole, start, tmp_path):
    suite, expected = whole[0], numbers(whole[1])
    arguments = ("compare", suite, "--out", tmp_path)
    process = start(*arguments)
    wait_until(lambda: recorded(tmp_path, "flow_grpo_0", 4), process)
    (child,) = children_of(process)
    process.kill()
    process.communicate()
    again = zoo(*arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    assert not os.path.exists(f"/proc/{child}")
    assert "1/2 nft, seed 0: reused" in again.stdout
    assert "2/2 flow_grpo, seed 0: goes on from epoch" in again.stdout
    assert len(folders(tmp_path)) == 2
    for name, lines in numbers(tmp_path).items():
        assert lines == expected[name], name


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_comparison_reports_what_there_is_and_goes_on(number, start, tmp_path):
    suite = write(tmp_path, budget="{epochs: 400}", seeds="[0]")
    out = tmp_path / "out"
    process = start("compare", suite, "--out", out)
    wait_until(lambda: recorded(out, "nft_0", 4), process)
    process.send_signal(number)
    said, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said + err
    assert "Traceback" not in err
    lines = said.splitlines()
    assert lines[1] == "stopping: the run saves and leaves; again to leave at once"
    assert lines[2] == "1/2 nft, seed 0: interrupted"
    assert lines[-1] == "stopped; go on with the same command"
    assert "interrupted after epoch" in (out / "report.md").read_text()
    assert "saved after epoch" in (out / "logs" / "nft_0.log").read_text()


@pytest.mark.slow
def test_a_signal_is_passed_on_to_all_that_go_on(start, tmp_path):
    suite = write(tmp_path, budget="{epochs: 400}", seeds="[0, 1]")
    out = tmp_path / "out"
    process = start("compare", suite, "--out", out, "--jobs", "3")
    begun = ("nft_0", "flow_grpo_0", "nft_1")
    wait_until(lambda: all(recorded(out, run, 4) for run in begun), process)
    process.send_signal(signal.SIGTERM)
    said, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, said + err
    assert "stopping: the runs save and leave; again to leave at once" in said
    assert said.count("interrupted") == 3
    assert all("saved after epoch" in (out / "logs" / f"{run}.log").read_text() for run in begun)
    assert not (out / "logs" / "flow_grpo_1.log").exists()


# It is passed on as the first is, which the fast suite sends.
@pytest.mark.slow
def test_a_second_signal_leaves_at_once(start, tmp_path):
    # The reward hangs after the epoch that is evaluated first: the first signal has to wait.
    reward, hangs = hanging_reward(tmp_path)
    rest = SMALL + f"contenders:\n  slow: {{rewards: [{{name: python, path: '{reward}:score'}}]}}\n"
    suite = write(tmp_path, seeds="[0]", rest=rest)
    out = tmp_path / "out"
    # All images of an epoch are in one micro-batch: between two it would leave.
    whole = "common.engine.micro_batch={sample: 20, train: 20}"
    process = start("compare", suite, "--out", out, "-s", whole)
    wait_until(hangs, process)
    (child,) = children_of(process)
    process.send_signal(signal.SIGINT)
    log = out / "logs" / "slow_0.log"
    wait_until(lambda: "again to leave at once" in log.read_text(), process)
    process.send_signal(signal.SIGINT)
    said, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, said + err
    assert not os.path.exists(f"/proc/{child}")
    assert said.splitlines()[-1] == "stopped; go on with the same command"


# The lock itself is in tests/compare/test_lock.py.
@pytest.mark.slow
def test_a_folder_in_use_is_refused(start, tmp_path, zoo_here):
    suite = write(tmp_path, budget="{epochs: 400}", seeds="[0]")
    out = tmp_path / "out"
    process = start("compare", suite, "--out", out)
    wait_until(lambda: recorded(out, "nft_0", 1), process)
    ended = zoo_here("compare", suite, "--out", out)
    assert ended.code == 2
    assert ended.lines == [
        f"error: {out} is in use: process {process.pid} is a zoo compare that writes there; "
        "wait for it, or give another folder with --out"
    ]
    assert process.poll() is None


# So is it there, without processes.
@pytest.mark.slow
def test_a_contender_that_fails_does_not_lose_the_others(tmp_path):
    broken = tmp_path / "broken"
    broken.touch()
    reward = tmp_path / "reward.py"
    reward.write_text(RAISES.replace("{path}", f"Path({str(broken)!r})"))
    own = f"  mine:\n    rewards: [{{name: python, path: '{reward}:score', label: mine}}]\n"
    own += "    scoring: {timeout: 60, retries: 0}\n"
    suite = write(tmp_path, budget="{epochs: 2}", seeds="[0]", rest=SMALL + BOTH + own)
    out = tmp_path / "out"
    done = zoo("compare", suite, "--out", out)
    assert done.returncode == 1, done.stdout + done.stderr
    assert set(numbers(out)) == {"nft_0", "flow_grpo_0"}
    assert "3/3 mine, seed 0: failed, exit code" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 of 3 runs failed; the same command tries again"
    assert "the reward is out" in (out / "logs" / "mine_0.log").read_text()
    assert "mine" in (out / "report.md").read_text()
    broken.unlink()
    done = zoo("compare", suite, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("reused") == 2
    assert set(numbers(out)) == {"nft_0", "flow_grpo_0", "mine_0"}


def test_a_mistake_is_found_before_anything_is_run(tmp_path, zoo_here):
    rest = SMALL + BOTH + "  b: {objective: {bta: 1.0}}\n"
    suite = write(tmp_path, rest=rest)
    ended = zoo_here("compare", suite, "--out", tmp_path / "out")
    assert ended.code == 2
    (line,) = ended.lines
    assert line.startswith(f"error: {suite}:15: contender 'b': unknown key 'objective.bta'; did")
    assert not (tmp_path / "out").exists()
    ended = zoo_here("compare", tmp_path / "suit.yaml")
    assert ended.code == 2
    assert "did you mean" in ended.err


@pytest.mark.slow
def test_the_recipes_that_were_run_can_be_run_alone(whole):
    out = whole[1]
    recipe = out / "recipes" / "flow_grpo_0.json"
    done = zoo("check", recipe)
    assert done.returncode == 0, done.stderr
    assert json.loads(recipe.read_text())["epochs"] == 8
