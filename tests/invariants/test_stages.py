"""A run in stages is the run that it says it is, wherever it is cut, killed or spread."""

import json

import pytest
import torch

from tests.engine.many_runs import run_all, run_one
from tests.runs import RECIPES, every_time, metrics, overrides, require_same_tensors, without_clocks

# Everything changes that may: the rewards and their number, the geometry, the loss, the rate.
CHANGED = (
    "{name: other, epochs: 2, rewards: [{name: digit}, {name: diversity, weight: 0.3}], "
    "advantage: {mix: gdpo}, sampler: {steps: 4}, data: {groups_per_epoch: 3}, "
    "objective: {kl_weight: 0.0}, "
    "optim: {lr: 1e-3, max_grad_norm: 0.5, updates_per_epoch: 3}, "
    "eval: {rewards: [{name: digit_judge}]}, scoring: {retries: 0}}"
)
STAGES = f"[{{epochs: 2}}, {CHANGED}, {{epochs: 2}}]"
RARELY = {"checkpoint.every": 100, "checkpoint.keep": 10, "eval.every": 100}


def spec(out, algorithm="nft", resume=None, **changes):
    """A run for `run_one`; `__` in `changes` is a dot."""
    said = overrides(algorithm, out, **changes)[1::2]
    return {
        "recipe": str(RECIPES[algorithm]), "overrides": said, "out": str(out),
        "resume": str(resume) if resume else None,
    }  # fmt: skip


def in_stages(out, **changes):
    return spec(out, **{"epochs": 6, "stages": STAGES, **RARELY, **changes})


def lines(run, but=()):
    kept = without_clocks(metrics(run))
    return [{k: v for k, v in line.items() if k not in but} for line in kept]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    # Sums of several are put together in another order.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run through all stages."""
    out = tmp_path_factory.mktemp("whole")
    run_one(in_stages(out))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", every_time("nft"))
def test_equal_stages_are_no_stages(algorithm, tmp_path):
    staged, plain = tmp_path / "staged", tmp_path / "plain"
    stages = "[{epochs: 1}, {epochs: 2, sampler: {steps: 3}}, {epochs: 1}]"
    for out, said in ((staged, stages), (plain, "null")):
        run_one(spec(out, algorithm, stages=said, eval__every=1))
    require_same_tensors(staged, plain)
    assert lines(staged, but=["stage"]) == lines(plain)
    assert [line["stage"] for line in metrics(staged)] == [0, 0, 1, 1, 2]
    assert not any("stage" in line for line in metrics(plain))


def test_every_epoch_is_of_its_stage(whole):
    recorded = metrics(whole)
    assert [line["epoch"] for line in recorded] == list(range(7))
    assert [line["stage"] for line in recorded] == [0, 0, 0, 1, 1, 2, 2]
    assert ["reward/diversity" in line for line in recorded] == [False] * 3 + [True] * 2 + [
        False
    ] * 2
    # Its own number of updates, and none of the KL term in the stage that has none.
    assert [line["step"] for line in recorded] == [0, 2, 4, 7, 10, 12, 14]
    assert ["kl" in line for line in recorded[1:]] == [True, True, False, False, True, True]


def test_the_last_epoch_of_a_stage_is_evaluated_by_it_and_saved(whole):
    evaluated = [
        {key for key in line if key.startswith("eval/")} & {"eval/digit", "eval/digit_judge"}
        for line in metrics(whole)
    ]
    own, other = {"eval/digit"}, {"eval/digit_judge"}
    assert evaluated == [own, set(), own, set(), other, set(), own]
    saved = sorted(path.name for path in (whole / "checkpoints").iterdir())
    assert saved == ["000002", "000004", "000006"]


def test_the_rate_goes_over_the_updates_of_all_stages(whole):
    # Cosine over 2 x 2 + 2 x 3 + 2 x 2 updates, down from the stage's own peak.
    rates = [line["lr"] for line in metrics(whole)[1:]]
    done = torch.tensor([1, 3, 6, 9, 11, 13], dtype=torch.float64) / 14
    peaks = torch.tensor([3e-3, 3e-3, 1e-3, 1e-3, 3e-3, 3e-3], dtype=torch.float64)
    wanted = peaks * (1 + torch.cos(torch.pi * done)) / 2
    assert rates == pytest.approx(wanted.tolist(), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "epochs",
    [
        pytest.param(1, marks=pytest.mark.slow),
        2,
        pytest.param(3, marks=pytest.mark.slow),
        pytest.param(4, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_ends_early_goes_on_as_one_that_did_not(epochs, whole, tmp_path):
    cut, gone_on = tmp_path / "cut", tmp_path / "gone_on"
    run_one(in_stages(cut, epochs=epochs))
    assert [line["epoch"] for line in metrics(cut)] == list(range(epochs + 1))
    run_one(in_stages(gone_on, resume=cut))
    require_same_tensors(gone_on, whole)
    recorded = metrics(cut) + metrics(gone_on)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in recorded))
    # Where it ended it was evaluated, too.
    of_evaluations = ("eval/", "eval_error/", "monitor/", "monitor_std/")
    names = {name for line in recorded for name in line if name.startswith(of_evaluations)}
    assert lines(tmp_path, but=names) == lines(whole, but=names)


@pytest.mark.slow
def test_a_run_of_several_processes_goes_through_the_same_stages(tmp_path):
    runs = {}
    for processes in (1, 2):
        out = tmp_path / f"of_{processes}"
        run = in_stages(out, optim__schedule="constant")
        run_all([run], processes, tmp_path / f"processes_{processes}")
        runs[processes] = metrics(out)
    assert [line["stage"] for line in runs[2]] == [0, 0, 0, 1, 1, 2, 2]
    assert [line["step"] for line in runs[1]] == [line["step"] for line in runs[2]]
    rewards = [[line["reward"] for line in runs[processes]] for processes in (1, 2)]
    assert rewards[0] == pytest.approx(rewards[1], rel=1e-4)
