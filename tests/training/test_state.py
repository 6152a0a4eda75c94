"""What a checkpoint keeps of a run, and what it is refused for; the best evaluation so far."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.runs import RECIPES
from tests.train_here import epoch_here, recipe
from zoo.engine import watchdog
from zoo.rollout import Weights
from zoo.run import checkpoint
from zoo.run.checkpoint import CheckpointError
from zoo.run.sink import Sink
from zoo.run.tracker import Tracker
from zoo.training.build import build
from zoo.training.state import BestSoFar, Progress, load_weights, progress_of, restore, save

SHORT = {
    "epochs": 4, "data__groups_per_epoch": 3, "data__group_size": 4, "sampler__steps": 2,
    "optim__ema": "{cap: 0.9}", "eval": "null",
}  # fmt: skip
PROGRESS = Progress(3, step=5, num_evals=70, seconds=1.5, watched=BestSoFar(2, 0.5, 0.1, 1))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run that has learned, and the folder of its one checkpoint."""
    out = tmp_path_factory.mktemp("run")
    run = build(recipe(RECIPES["nft"], **SHORT))
    epoch_here(run.stages[0])
    save(run.stages[0], Tracker(out), PROGRESS)
    return run, checkpoint.latest(out)


def weights(run, which):
    return {name: value.whole() for name, value in run.model.policy.weights.tensors(which).items()}


@pytest.mark.slow
def test_everything_that_moves_is_as_it_was(saved):
    run, folder = saved
    again = build(recipe(RECIPES["nft"], **SHORT, seed=9), resumed=True)
    progress, tracking_id = restore(again, folder)
    assert (progress, tracking_id) == (PROGRESS, None)
    for which in (Weights.LIVE, Weights.OLD, Weights.EMA):
        for name, value in weights(run, which).items():
            assert torch.equal(weights(again, which)[name], value), (which, name)
    state = {name: value.whole() for name, value in run.model.engine.state().items()}
    assert state
    for name, value in again.model.engine.state().items():
        assert torch.equal(value.whole(), state.pop(name)), name
    assert not state


def test_a_checkpoint_of_when_wandb_was_the_only_tracker_has_its_id(saved, tmp_path):
    """The key in its state was `wandb_id`."""
    run, folder = saved
    old = shutil.copytree(folder, tmp_path / folder.name)
    file = json.loads((old / "state.json").read_text())
    del file["checksum"], file["state"]["tracking_id"]
    file["state"]["wandb_id"] = "a1b2c3d4"
    (old / "state.json").write_text(json.dumps(file))
    assert restore(run, old) == (PROGRESS, "a1b2c3d4")


def test_how_far_a_run_is_can_be_read_without_its_model(saved):
    assert progress_of(saved[1]) == PROGRESS


def test_the_weights_of_another_model_are_refused_by_name(saved):
    other = build(recipe(RECIPES["nft"], **SHORT, policy__lora="{rank: 3, alpha: 4}"))
    with pytest.raises(
        CheckpointError, match=r"weights '.*' are F32 \[8, .*, this recipe's are F32 \[3"
    ):
        load_weights(other.model, checkpoint.load(saved[1]).tensors, saved[1])


def test_a_set_that_the_checkpoint_lacks_is_said(saved, tmp_path):
    plain = build(recipe(RECIPES["nft"], **SHORT | {"optim__ema": "null"}))
    save(plain.stages[0], Tracker(tmp_path), Progress(1))
    folder = checkpoint.latest(tmp_path)
    with pytest.raises(CheckpointError, match=r"ema weights '.*' are missing, this recipe's are"):
        restore(build(recipe(RECIPES["nft"], **SHORT)), folder)


@pytest.fixture
def copied(saved, tmp_path):
    """The checkpoint in a folder of its own, to be damaged."""
    return shutil.copytree(saved[1], tmp_path / "checkpoints" / saved[1].name)


def as_before(folder, change=lambda progress: None, **tensors):
    """Makes it one of an earlier version, which knew nothing of tensors; None removes one."""
    path = folder / "state.json"
    written = json.loads(path.read_text())
    change(written["state"]["progress"])
    path.write_text(json.dumps({key: written[key] for key in ("format", "epoch", "state")}))
    changed = load_file(folder / "tensors.safetensors") | tensors
    kept = {name: value for name, value in changed.items() if value is not None}
    save_file(kept, folder / "tensors.safetensors")


def test_a_checkpoint_of_an_earlier_version_is_read_as_it_was(saved, copied):
    as_before(copied)
    again = build(recipe(RECIPES["nft"], **SHORT), resumed=True)
    assert restore(again, copied) == (PROGRESS, None)
    for name, value in weights(saved[0], Weights.LIVE).items():
        assert torch.equal(weights(again, Weights.LIVE)[name], value)


@pytest.fixture(scope="module")
def other(saved):
    """Another run of the recipe, which what is refused leaves usable."""
    return build(recipe(RECIPES["nft"], **SHORT), resumed=True)


def test_an_optimizer_that_is_not_whole_is_named(saved, copied, other):
    names = [name for name in checkpoint.load(saved[1]).tensors if name.startswith("optimizer/")]
    moment = next(name for name in names if name.endswith("/exp_avg"))
    step = moment.replace("exp_avg", "step")
    for changed, why in (
        (dict.fromkeys(names), f"'{names[0]}' is missing, after 5 updates"),
        ({moment: None}, f"'{moment}' is missing, after 5 updates"),
        ({"optimizer/x/step": torch.ones(())}, "'optimizer/x/step' is of no weights of this"),
        ({moment: torch.zeros(3)}, f"'{moment}' is F32 [3], its weights are ["),
        ({step: torch.tensor(math.nan)}, f"'{step}' is nan, not a number of updates"),
        ({step: torch.tensor(math.inf)}, f"'{step}' is inf, not a number of updates"),
        ({step: torch.tensor(-1.0)}, f"'{step}' is -1.0, not a number of updates"),
        ({step: torch.tensor(1.5)}, f"'{step}' is 1.5, not a number of updates"),
    ):
        shutil.copytree(saved[1], copied, dirs_exist_ok=True)
        as_before(copied, **changed)
        with pytest.raises(CheckpointError) as error:
            restore(other, copied)
        assert why in str(error.value)
        assert "use an earlier checkpoint: there is none that is whole" in str(error.value)


def test_weights_that_are_not_finite_or_of_another_type_are_named(saved, copied, other):
    name = next(name for name in checkpoint.load(saved[1]).tensors if name.startswith("live/"))
    value = checkpoint.load(saved[1]).tensors[name]
    as_before(copied, **{name: value * math.nan})
    with pytest.raises(CheckpointError, match=f"'{name}' is not finite; use an earlier"):
        restore(other, copied)
    as_before(copied, **{name: value.double()})
    with pytest.raises(CheckpointError, match=r"are F64 \[.*this recipe's are F32 \["):
        restore(other, copied)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("step", math.nan, "progress.step: input should be a valid integer, not nan"),
        ("step", -1, "progress.step: input should be greater than or equal to 0, not -1"),
        ("step", 2.5, "progress.step: input should be a valid integer, not 2.5"),
        ("num_evals", "7", "progress.num_evals: input should be a valid integer, not '7'"),
        ("seconds", math.inf, "progress.seconds: input should be a finite number, not inf"),
        ("epoch", 2, "progress.epoch: 2, in the checkpoint of epoch 3"),
        ("watched", None, "progress.watched: input should be"),
        ("laps", 1, "progress.laps: unexpected keyword argument, not 1"),
    ],
)
def test_a_progress_that_cannot_be_is_named_with_its_key(key, value, why, copied):
    as_before(copied, lambda progress: progress.update({key: value}))
    with pytest.raises(CheckpointError) as error:
        progress_of(copied)
    assert f"({why}" in str(error.value)
    assert "state.json" in str(error.value)


def test_a_checkpoint_of_a_model_that_is_not_finite_is_told_and_passed_over(saved, tmp_path):
    run, said = saved[0], []
    tracker = Tracker(tmp_path, [Warnings(said)])
    save(run.stages[0], tracker, Progress(1))
    live = run.model.policy.weights.parameters()
    name, parameter = next(iter(sorted(live.items())))
    before = parameter.detach().clone()
    with torch.no_grad():
        parameter[0, 0] = math.nan
        save(run.stages[0], tracker, Progress(2))
        parameter.copy_(before)
    assert said == [
        f"epoch 2: 'live/{name}' is not finite in its checkpoint: --resume, eval and export take "
        "the one before it"
    ]
    assert checkpoint.latest(tmp_path).name == "000001"


class Warnings(Sink):
    def __init__(self, said):
        self.said = said

    def warn(self, text, *, again):
        self.said.append(text)


def after(*scores, error=0.01):
    watched = BestSoFar()
    for epoch, score in enumerate(scores):
        watched = watched.after(epoch, score, error)
    return watched


def test_the_best_is_the_first_of_the_highest():
    assert after(0.2, 0.5, 0.5, 0.4).best_epoch == 1
    assert after(0.2, 0.5, 0.6).best == 0.6


def test_falling_counts_evaluations_in_a_row_below_the_best_by_more_than_its_error():
    assert after(0.5, 0.48, 0.47).num_falling == 2
    assert after(0.5, 0.48, 0.495, 0.48).num_falling == 1  # within the error in between
    assert after(0.5, 0.48, 0.6).num_falling == 0


def test_without_an_error_every_fall_counts():
    assert after(0.5, 0.4999, error=math.nan).num_falling == 1


def test_a_score_that_is_nan_tells_nothing():
    assert after(math.nan) == BestSoFar()
    assert after(0.5, 0.4, math.nan) == after(0.5, 0.4)


def test_no_process_goes_on_before_a_checkpoint_is_written_and_writing_is_progress(
    saved, tmp_path, monkeypatch
):
    run, _ = saved
    there, pulses = [], []
    monkeypatch.setattr(watchdog, "pulse", lambda: pulses.append(1))
    engine = run.model.engine
    monkeypatch.setattr(engine, "barrier", lambda: there.append(checkpoint.latest(tmp_path)))
    save(run.stages[0], Tracker(tmp_path), PROGRESS)
    assert there == [checkpoint.latest(tmp_path)]
    assert there[0] is not None
    assert len(pulses) >= len(engine.state())
    # Another process gives its parts, writes nothing, and waits as well.
    monkeypatch.setattr(engine, "rank", 1)
    save(run.stages[0], Tracker(tmp_path / "other"), PROGRESS)
    assert there[1:] == [checkpoint.latest(tmp_path)]
    assert not (tmp_path / "other").exists()
