"""The order of a suite's runs, what is reused, what a failure leaves; with made-up runs."""

import json
import signal
from pathlib import Path

import pytest

from tests.suites import GRPO, suite
from zoo import json_file, run_dir
from zoo.contest.run import run_all
from zoo.recipe.recipe import load_recipe
from zoo.suite import load_suite

TWO = f"nft: {{}}\ngrpo: {GRPO}"


class Pretended:
    """Makes the folders that `zoo train` would; `does` says otherwise for some names."""

    def __init__(self, **does):
        self.does = does
        self.asked = []
        self.calls = []

    def run(self, arguments, log):
        self.calls.append(arguments)
        resumed = arguments[1] == "--resume"
        path = arguments[2] if resumed else arguments[1]
        name = path.split("/")[-2 if resumed else -1].removesuffix(".json")
        what = self.does.get(name, "ends")
        if what == "fails":
            with log.open("a") as lines:
                lines.write("warning: hm\nerror: the reward is broken\nmore\n")
            return 1
        if what == "killed":
            return -signal.SIGKILL
        if what == "asked":
            self.asked.append(signal.SIGINT)
        self._write(path, name, resumed=resumed, ends=what == "ends")
        return 0 if what == "ends" else 130

    def _write(self, path, name, *, resumed, ends):
        if resumed:
            folder = Path(path)
        else:
            recipe = load_recipe(path)
            parent = Path(recipe.output_dir) / name
            parent.mkdir(parents=True, exist_ok=True)
            folder = parent / f"time_{len(list(parent.iterdir())):03}"
            folder.mkdir()
            json_file.write(folder / "recipe.json", recipe.resolved())
            json_file.write(folder / run_dir.ENVIRONMENT, run_dir.environment(recipe))
            (folder / "checkpoints" / "000001").mkdir(parents=True)
        lines = [{"epoch": e, "seconds": 1.0 * e, "num_evals": 10 * e, "reward": 0.5}
                 for e in range(3)]  # fmt: skip
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if ends:
            json_file.write(folder / run_dir.END, {"epoch": 2, "reason": "epochs", "text": "all"})


@pytest.fixture
def compared(tmp_path):
    """Runs a suite with a pretended runner; gives results, the runner, and what was said."""

    def run(*overrides, contenders=TWO, **does):
        out = tmp_path / "out"
        path = suite(tmp_path, contenders, seeds="[0, 1]")
        loaded = load_suite(path, overrides, out / "runs")
        runner, said = Pretended(**does), []
        return run_all(loaded, out, runner, "zoo compare x", said.append), runner, said

    return run


def started(runner):
    return [arguments[-1].split("/")[-1] for arguments in runner.calls]


def test_runs_go_by_seed_and_then_by_contender(compared):
    results, runner, said = compared()
    assert started(runner) == ["nft_0.json", "grpo_0.json", "nft_1.json", "grpo_1.json"]
    contest = results.contest()
    assert [each.name for each in contest.contenders] == ["nft", "grpo"]
    assert [sorted(each.runs) for each in contest.contenders] == [[0, 1], [0, 1]]
    assert (contest.command, contest.seeds) == ("zoo compare x", (0, 1))
    assert contest.budget == {"epochs": 2}
    assert said[0] == "1/4 nft, seed 0: running"
    assert "2 epochs, 2.0 s" in said[1]
    assert "to go" in said[1]
    assert "to go" not in said[-1]


def test_what_is_finished_is_not_run_again(compared):
    compared()
    results, runner, said = compared()
    assert runner.calls == []
    assert said[0] == "1/4 nft, seed 0: there already"
    assert results.num_open == 0


def test_a_seed_more_runs_that_seed_alone(compared):
    compared("seeds=[0]")
    _, runner, _ = compared("seeds=[0, 1]")
    assert started(runner) == ["nft_1.json", "grpo_1.json"]


def test_another_recipe_is_another_run_beside_the_first(compared, tmp_path):
    compared()
    _, runner, _ = compared("contenders.nft.objective.beta=0.7")
    assert started(runner) == ["nft_0.json", "nft_1.json"]
    assert len(list((tmp_path / "out" / "runs" / "nft_0").iterdir())) == 2
    _, again, _ = compared()
    assert again.calls == []  # the first is still there


@pytest.mark.parametrize("key", ["code", "packages", "libraries"])
def test_a_run_by_other_code_is_made_anew(key, compared, tmp_path):
    compared()
    (folder,) = (tmp_path / "out" / "runs" / "grpo_1").iterdir()
    found = json_file.read(folder / run_dir.ENVIRONMENT)
    found[key] = {**found[key], "torch": "other"}
    json_file.write(folder / run_dir.ENVIRONMENT, found)
    _, runner, _ = compared()
    assert started(runner) == ["grpo_1.json"]


def test_a_damaged_run_is_made_anew(compared, tmp_path):
    compared()
    (folder,) = (tmp_path / "out" / "runs" / "grpo_1").iterdir()
    (folder / "recipe.json").write_text('{"na')
    _, runner, _ = compared()
    assert started(runner) == ["grpo_1.json"]


def test_a_failure_does_not_lose_the_others_and_is_tried_again(compared):
    results, runner, said = compared(nft_0="fails")
    assert len(runner.calls) == 4
    nft, grpo = results.contest().contenders
    (failed,) = nft.failed
    assert (failed.seed, failed.why) == (0, "the reward is broken")
    assert failed.log.endswith("logs/nft_0.log")
    assert sorted(nft.runs) == [1]
    assert sorted(grpo.runs) == [0, 1]
    assert any("failed: the reward is broken" in line for line in said)
    results, runner, _ = compared()
    assert started(runner) == ["nft_0.json"]
    assert not results.failed


def test_a_failure_without_a_word_is_said_by_its_end(compared):
    results, _, _ = compared(nft_0="killed")
    assert results.failed["nft_0"].why == "ended by signal 9, which is how memory runs out"


def test_an_old_error_in_the_log_is_not_the_reason_of_a_new_failure(compared):
    compared(nft_0="fails")
    results, _, _ = compared(nft_0="killed")
    assert results.failed["nft_0"].why.startswith("ended by signal 9")


def test_an_interrupt_leaves_the_rest_open_and_the_run_to_go_on_with(compared):
    results, runner, _ = compared(grpo_0="asked")
    assert started(runner) == ["nft_0.json", "grpo_0.json"]
    assert (results.num_open, results.failed) == (3, {})
    assert [sorted(each.runs) for each in results.contest().contenders] == [[0], []]
    results, runner, said = compared()
    assert runner.calls[0][1] == "--resume"
    assert "going on with" in said[2]
    assert results.num_open == 0
