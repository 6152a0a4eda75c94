"""Order, reuse, resuming and failures, with runs that take no time."""

import json
import shutil
import signal

import pytest

from tests.compare.suites import (
    BOTH,
    SMALL,
    Recorder,
    ended,
    fails,
    interrupted,
    suite_runner,
    write,
)
from zoo.compare.process import last_error
from zoo.recipe.errors import RecipeError
from zoo.run import folder as run_dir


@pytest.fixture
def start(tmp_path):
    """Runs a suite with a recorder; gives the runner and what it said."""
    path = write(tmp_path)

    def run(recorder, *overrides, suite=path, places=({},)):
        said = []
        runner = suite_runner(suite, tmp_path / "out", said.append, overrides)
        runner.run_all(recorder, places)
        return runner, said

    return run


def names(recorder):
    return [name for name, _ in recorder.started]


@pytest.mark.slow
def test_runs_go_seed_by_seed(start):
    recorder = Recorder()
    runner, said = start(recorder)
    assert names(recorder) == ["nft_0", "flow_grpo_0", "nft_1", "flow_grpo_1"]
    assert said[0] == "1/4 nft, seed 0: starts"
    assert said[1].startswith("1/4 nft, seed 0: 2 epochs, 1.0 s")
    assert said[2].startswith("about ")
    assert said[-1].startswith("4/4 flow_grpo, seed 1: 2 epochs")
    comparison = runner.comparison("zoo compare suite.yaml")
    assert [each.name for each in comparison.contenders] == ["nft", "flow_grpo"]
    assert [sorted(each.runs) for each in comparison.contenders] == [[0, 1], [0, 1]]
    assert comparison.budget == {"epochs": 2}
    assert comparison.command == "zoo compare suite.yaml"


@pytest.mark.slow
def test_what_is_run_and_the_suite_are_written_where_it_is_run(start, tmp_path):
    start(Recorder())
    out = tmp_path / "out"
    assert json.loads((out / "suite.json").read_text())["seeds"] == [0, 1]
    recipe = json.loads((out / "recipes" / "flow_grpo_1.json").read_text())
    assert (recipe["name"], recipe["seed"], recipe["epochs"]) == ("flow_grpo_1", 1, 2)
    assert recipe["output_dir"] == str(out / "runs")
    (run,) = (out / "runs" / "flow_grpo_1").iterdir()
    assert run_dir.read_resolved_recipe(run) == recipe
    assert "flow_grpo_1 starts" in (out / "logs" / "flow_grpo_1.log").read_text()


@pytest.mark.slow
def test_a_second_start_runs_nothing(start):
    start(Recorder())
    recorder = Recorder()
    runner, said = start(recorder)
    assert recorder.started == []
    assert said[0].startswith("1/4 nft, seed 0: reused, 2 epochs")
    assert all(len(each.runs) == 2 for each in runner.comparison("").contenders)


@pytest.mark.slow
def test_another_seed_or_contender_runs_only_that(start):
    start(Recorder())
    recorder = Recorder()
    start(recorder, "seeds=[0, 1, 2]")
    assert names(recorder) == ["nft_2", "flow_grpo_2"]
    recorder = Recorder()
    start(recorder, "contenders.flow_grpo.optim.lr=1e-5")
    assert names(recorder) == ["flow_grpo_0", "flow_grpo_1"]


@pytest.mark.slow
def test_runs_of_another_recipe_stay_and_it_is_said_why_they_are_not_used(start, tmp_path):
    start(Recorder())
    _, said = start(Recorder(), "contenders.nft.optim.lr=1e-5")
    assert any("nft, seed 0" in line and "its recipe has another optim" in line for line in said)
    assert len(list((tmp_path / "out" / "runs" / "nft_0").iterdir())) == 2
    recorder = Recorder()
    start(recorder)
    assert recorder.started == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "change", "why"),
    [
        ("code", {"zoo": "0"}, "it was made with other code of zoo"),
        pytest.param(
            "libraries",
            {"torch": "1.0"},
            "another version of torch, diffusers",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "python", "3.0", "it was made with python 3.0, and here is", marks=pytest.mark.slow
        ),
    ],
)
def test_runs_of_other_code_or_versions_are_made_again(start, tmp_path, key, change, why):
    start(Recorder())
    (run,) = (tmp_path / "out" / "runs" / "nft_0").iterdir()
    path = run / run_dir.ENVIRONMENT
    environment = json.loads(path.read_text())
    assert key in environment
    path.write_text(json.dumps({**environment, key: change}))
    recorder = Recorder()
    _, said = start(recorder)
    assert names(recorder) == ["nft_0"]
    assert any(why in line for line in said)


@pytest.mark.slow
def test_runs_of_another_machine_are_made_again_where_the_budget_is_time(tmp_path):
    for budget, expected in (("{epochs: 2}", []), ("{seconds: 5}", ["nft_0"])):
        (tmp_path / budget).mkdir()
        suite = write(tmp_path / budget, budget=budget, seeds="[0]")
        suite_runner(suite, tmp_path / budget / "out", lambda text: None).run_all(Recorder())
        (path,) = (tmp_path / budget).glob(f"out/runs/nft_0/*/{run_dir.ENVIRONMENT}")
        path.write_text(json.dumps({**json.loads(path.read_text()), "processor": "another"}))
        recorder = Recorder()
        suite_runner(suite, tmp_path / budget / "out", lambda text: None).run_all(recorder)
        assert names(recorder) == expected


@pytest.mark.slow
def test_a_folder_that_is_moved_is_still_reused(start, tmp_path):
    start(Recorder())
    shutil.copytree(tmp_path / "out", tmp_path / "elsewhere")
    recorder = Recorder()
    said = []
    suite_runner(tmp_path / "suite.yaml", tmp_path / "elsewhere", said.append).run_all(recorder)
    assert recorder.started == []


@pytest.mark.slow
def test_an_interrupted_run_ends_the_suite_and_is_resumed(start):
    recorder = Recorder({"flow_grpo_0": interrupted})
    runner, said = start(recorder)
    assert names(recorder) == ["nft_0", "flow_grpo_0"]
    assert said[-1] == "2/4 flow_grpo, seed 0: interrupted"
    nft, flow_grpo = runner.comparison("").contenders
    assert (sorted(nft.runs), nft.failed) == ([0], ())
    assert flow_grpo.runs == {}
    assert [each.why for each in flow_grpo.failed] == [
        "interrupted after epoch 1; the same command goes on with it"
    ]
    assert not runner.failed
    again = Recorder()
    _, said = start(again)
    assert again.started == [("flow_grpo_0", True), ("nft_1", False), ("flow_grpo_1", False)]
    assert "2/4 flow_grpo, seed 0: goes on from epoch 1" in said


@pytest.mark.slow
def test_as_many_runs_as_places_go_on_at_once_and_the_next_takes_the_first_that_is_left(start):
    # nft_0 ends at the seventh look, flow_grpo_0 at the second, all others at the first.
    recorder = Recorder(looks={"nft_0": 7, "flow_grpo_0": 2})
    runner, said = start(recorder, places=({"GPU": "0"}, {"GPU": "1"}))
    assert recorder.most_at_once == 2
    assert recorder.places == {
        "nft_0": {"GPU": "0"}, "flow_grpo_0": {"GPU": "1"},
        "nft_1": {"GPU": "1"}, "flow_grpo_1": {"GPU": "1"},
    }  # fmt: skip
    ends = [line for line in said if "2 epochs" in line]
    assert [line[:3] for line in ends] == ["2/4", "3/4", "4/4", "1/4"]
    assert all(len(each.runs) == 2 for each in runner.comparison("").contenders)


@pytest.mark.slow
def test_a_signal_ends_all_that_go_on_and_starts_none(start):
    recorder = Recorder({"nft_0": interrupted, "flow_grpo_0": interrupted}, {"nft_0": 3})
    runner, said = start(recorder, places=({}, {}))
    assert names(recorder) == ["nft_0", "flow_grpo_0"]
    assert [line for line in said if line.endswith("interrupted")] == [
        "2/4 flow_grpo, seed 0: interrupted", "1/4 nft, seed 0: interrupted"
    ]  # fmt: skip
    assert not runner.failed


@pytest.mark.slow
def test_a_run_without_a_checkpoint_is_begun_anew(start, tmp_path):
    def killed(recorder, recipe, log):
        run_dir.create(recipe)
        return -signal.SIGKILL

    runner, _ = start(Recorder({"nft_0": killed}))
    assert runner.failed["nft_0"].why == "killed by SIGKILL; was the machine out of memory?"
    recorder = Recorder()
    start(recorder)
    assert recorder.started == [("nft_0", False)]


@pytest.mark.slow
def test_a_run_with_all_its_epochs_and_no_end_goes_on_to_it(start, tmp_path):
    def unnoted(recorder, recipe, log):
        (run_dir.create(recipe) / "checkpoints" / f"{recipe.epochs:06}").mkdir(parents=True)
        return 0

    runner, _ = start(Recorder({"nft_0": unnoted}))
    assert runner.failed["nft_0"].why.startswith("it left no run that was asked for")
    recorder = Recorder()
    start(recorder)
    assert recorder.started == [("nft_0", True)]


@pytest.mark.slow
def test_a_contender_that_fails_does_not_lose_the_others_and_is_tried_again(start):
    recorder = Recorder({"nft_0": fails, "nft_1": fails})
    runner, _ = start(recorder)
    assert names(recorder) == ["nft_0", "flow_grpo_0", "nft_1", "flow_grpo_1"]
    nft, flow_grpo = runner.comparison("").contenders
    assert nft.runs == {}
    assert [(each.seed, each.why, each.log) for each in nft.failed] == [
        (0, "exit code 1: the reward is out", "logs/nft_0.log"),
        (1, "exit code 1: the reward is out", "logs/nft_1.log"),
    ]
    assert sorted(flow_grpo.runs) == [0, 1]
    again = Recorder()
    runner, _ = start(again)
    assert names(again) == ["nft_0", "nft_1"]
    assert runner.comparison("").contenders[0].failed == ()


def test_a_failure_is_that_of_the_last_attempt(tmp_path):
    log = tmp_path / "x.log"
    log.write_text("error: the first\n")
    start = log.stat().st_size
    with log.open("a") as file:
        file.write("== 2026: zoo train\nTraceback\nKilled by hand\n\n")
    assert last_error(log, start, 1) == "exit code 1: Killed by hand"
    assert last_error(log, 0, 2) == "exit code 2: the first"
    assert last_error(log, log.stat().st_size, 3) == "exit code 3: it said nothing"


@pytest.mark.slow
def test_a_damaged_folder_is_left_alone_and_said(start, tmp_path):
    folder = tmp_path / "out" / "runs" / "nft_0" / "2026-01-01_00-00-00"
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text("{")
    recorder = Recorder()
    _, said = start(recorder)
    assert len(recorder.started) == 4
    assert "2026-01-01_00-00-00 is not reused: it cannot be read" in said[0]
    assert (folder / "recipe.json").read_text() == "{"


@pytest.mark.slow
def test_the_first_run_that_ended_is_the_one_that_counts(start, tmp_path):
    runner, _ = start(Recorder())
    first = runner.comparison("").contenders[0].runs[0].folder
    ended(None, runner.planned[0].recipe, None)
    runner, _ = start(Recorder())
    assert runner.comparison("").contenders[0].runs[0].folder == first


@pytest.mark.slow
def test_a_target_that_no_evaluation_has_ends_it_after_one_run(tmp_path):
    targets = "targets: [{label: judge/mean_of_tags, at_least: 0.5}]\n"
    path, recorder = write(tmp_path, seeds="[0]", rest=targets + SMALL + BOTH), Recorder()
    said = []
    with pytest.raises(RecipeError, match=r"suite.yaml:5: targets.0.label: 'judge/mean_of_tags' is "
                       r"not in the evaluations of contender 'nft'.*scored: judge"):  # fmt: skip
        suite_runner(path, tmp_path / "out", said.append).run_all(recorder)
    assert names(recorder) == ["nft_0"]


def test_a_name_with_dots_is_a_folder(tmp_path):
    path = write(tmp_path, seeds="[0]", rest=SMALL + BOTH + "  eta_0.9: {}\n")
    recorder = Recorder()
    suite_runner(path, tmp_path / "out", lambda text: None).run_all(recorder)
    assert names(recorder)[-1] == "eta_0.9_0"
