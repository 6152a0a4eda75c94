"""`zoo best`, and --best of other commands; runs that a condition has ended."""

import json

import pytest

from tests.runs import RECIPES, metrics, only_run, overrides, zoo


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three epochs, all of them saved."""
    out = tmp_path_factory.mktemp("best")
    changes = {"epochs": 3, "eval.every": 1, "checkpoint.keep": 9}
    done = zoo("train", RECIPES["nft"], *overrides("nft", out, **changes))
    assert done.returncode == 0, done.stderr
    return only_run(out)


def best_of(run, key):
    lines = [line for line in metrics(run) if line["epoch"]]
    return max(lines, key=lambda line: (line[key], -line["epoch"]))["epoch"]


@pytest.mark.slow
def test_the_best_checkpoint_is_said_with_its_folder_last(run, zoo_here):
    ended = zoo_here("best", run)
    assert ended.code == 0, ended.err
    epoch = best_of(run, "monitor/held_out")
    assert ended.out.splitlines()[-1] == str(run / "checkpoints" / f"{epoch:06}")
    assert f"best by monitor/held_out: epoch {epoch}, " in ended.out
    head, *rows = ended.out.splitlines()[:5]
    assert head.split() == ["epoch", "held_out", "trained", "diversity", "drift"]
    assert [row.split()[0] for row in rows] == ["0", "1", "2", "3"]
    assert rows[0].endswith("no checkpoint")
    assert rows[epoch].split()[-1] == "best"


@pytest.mark.slow
def test_another_score_may_choose(run, zoo_here):
    ended = zoo_here("best", run, "--by", "digit")
    assert f"best by eval/digit: epoch {best_of(run, 'eval/digit')}, " in ended.out


def test_a_start_that_was_better_is_said(run, tmp_path, zoo_here):
    lines = metrics(run)
    lines[0]["monitor/held_out"] = 2.0
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in ("recipe.json", "checkpoints"):
        (tmp_path / name).symlink_to(run / name)
    ended = zoo_here("best", tmp_path)
    assert "epoch 0 scored more, 2, and has no checkpoint: it is the model as the run began" in (
        ended.out
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--by", "digt"), "--by digt: evaluations do not score it; did you mean 'digit'? scored"),
        (("--by", ""), "--by : evaluations do not score it"),
    ],
)
def test_a_wrong_score_is_refused_with_those_there_are(arguments, said, run, zoo_here):
    ended = zoo_here("best", run, *arguments)
    assert ended.code == 2
    (line,) = ended.lines
    assert said in line


def test_what_has_no_evaluations_has_no_best(tmp_path, zoo_here):
    ended = zoo_here("best", tmp_path)
    assert (ended.code, ended.lines) == (
        2, [f"error: {tmp_path} is not a run folder: it has no recipe.json"],
    )  # fmt: skip
    (tmp_path / "recipe.json").write_text("{}")
    ended = zoo_here("best", tmp_path)
    assert ended.code == 2
    assert "has no evaluations, which say what is best" in ended.err


@pytest.mark.slow
def test_the_best_checkpoint_is_exported_scored_and_sampled(run, tmp_path, zoo_here):
    epoch = best_of(run, "monitor/held_out")
    exported = zoo_here("export", run, "--best", "--format", "peft", "-o", tmp_path / "lora")
    assert exported.code == 0, exported.err
    assert f"checkpoints/{epoch:06}" in exported.out
    scored = zoo_here("eval", run, "--best", "--limit", 2, "-n", 1, "-o", tmp_path / "scores")
    assert scored.code == 0, scored.err
    assert json.loads((tmp_path / "scores" / "results.json").read_text())["epoch"] == epoch
    sampled = zoo_here("sample", run, "--best", "-p", "the digit two", "-o", tmp_path / "two.png")
    assert sampled.code == 0, sampled.err
    assert f"checkpoints/{epoch:06}" in sampled.out


def test_best_and_an_epoch_are_two_answers(run, tmp_path, zoo_here):
    ended = zoo_here("export", run, "--best", "--epoch", 2, "-o", tmp_path / "lora")
    assert (ended.code, ended.lines) == (
        2, ["error: --best and --epoch 2 both name a checkpoint; use one"],
    )  # fmt: skip
    ended = zoo_here("sample", RECIPES["nft"], "--best", "-p", "x", "-o", tmp_path / "x.png")
    assert ended.code == 2
    assert "is a recipe; only a run folder has checkpoints" in ended.err


@pytest.mark.slow
def test_a_run_that_a_condition_has_ended_stays_so_until_it_is_changed(tmp_path, zoo_here):
    condition = {"epochs": 3, "stop_when": "{images: 20}"}
    ended = zoo_here("train", RECIPES["nft"], *overrides("nft", tmp_path, **condition))
    assert ended.code == 0, ended.err
    assert "ended by stop_when.images: 20 images, of 20 to spend" in ended.out
    run = only_run(tmp_path)
    before = metrics(run)
    assert [line["epoch"] for line in before] == [0, 1]
    again = zoo_here("train", "--resume", run)
    assert again.code == 0
    assert f"{run} ended after epoch 1: 20 images, of 20 to spend" in again.out
    assert metrics(run) == before
    # As a kill right after the last checkpoint leaves it.
    (run / "end.json").rename(tmp_path / "end.json")
    assert "ended after epoch 1" in zoo_here("train", "--resume", run).out
    assert (run / "end.json").read_bytes() == (tmp_path / "end.json").read_bytes()
    on = zoo_here("train", "--resume", run, "-s", "stop_when=null")
    assert on.code == 0, on.err
    assert [line["epoch"] for line in metrics(run)] == [0, 1, 2, 3]
    assert json.loads((run / "end.json").read_text())["reason"] == "epochs"
