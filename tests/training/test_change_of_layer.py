"""A run that began with PEFT's layer over a bfloat16 base goes on with zoo's, equal to rounding."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.runs import RECIPES, metrics
from tests.train_here import recipe
from zoo.engine.plain import PlainEngine
from zoo.policy import lora_linear
from zoo.policy.lora_linear import HalfLinear
from zoo.rollout import Weights
from zoo.run.tracker import open_tracker
from zoo.training.build import Run, build
from zoo.training.loop import train
from zoo.training.state import Progress, restore

BEFORE, EPOCHS = 2, 3
BF16 = {
    "epochs": EPOCHS, "policy__dtype": "bfloat16", "data__groups_per_epoch": 3,
    "data__group_size": 8, "sampler__steps": 2, "optim__updates_per_epoch": 2,
    "optim__ema": "{cap: 0.9}", "engine__micro_batch": "{sample: 24, train: 24}", "eval": "null",
    "checkpoint__every": 1, "checkpoint__keep": EPOCHS,
}  # fmt: skip

NEXT_EPOCH = 0.05
"""The most that what an epoch changes may differ by, as a part of it.

Gradients with either layer are 1% from float64's, by the base's bfloat16 alone
(tests/policy/test_lora_linear.py), so 1.4% from each other, and Adam has small ones count for more:
1.8% was measured of the weights, 2.2% of Adam's moments.
"""
NUMBERS = 2**-6
"""The most that a metric may differ by, as a part of it: four roundings of bfloat16."""
LEARNED = ("reward", "loss", "kl", "grad_norm")

Layer = Callable[..., nn.Module | None]
OURS: Layer = lora_linear.half_precision_linear


def pefts(*layer: object, **options: object) -> None:
    """As `half_precision_linear` says it of a layer that stays PEFT's."""


def made(layer: Layer, *, resumed: bool = False) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lora_linear, "half_precision_linear", layer)
        run = build(recipe(RECIPES["nft"], **BF16), resumed=resumed)
    adapted = [m for m in run.model.policy.weights.network.modules() if hasattr(m, "lora_A")]
    assert adapted
    assert {isinstance(m, HalfLinear) for m in adapted} == {layer is OURS}
    return run


@dataclass(frozen=True)
class Trained:
    """The files of a run that is at its end."""

    out: Path

    def checkpoint(self, epoch: int) -> Path:
        return self.out / "checkpoints" / f"{epoch:06}"

    def tensors(self, epoch: int = EPOCHS) -> dict[str, Tensor]:
        return load_file(self.checkpoint(epoch) / "tensors.safetensors")

    def learned(self) -> list[float]:
        """The metrics of the last epoch."""
        return [metrics(self.out)[-1][name] for name in LEARNED]


def trained(run: Run, progress: Progress, out: Path) -> Trained:
    out.mkdir()
    with open_tracker(out, run.stages[0].recipe) as tracker:
        train(run, progress, tracker)
    return Trained(out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def began(folder):
    """PEFT's throughout."""
    return trained(made(pefts), Progress(), folder / "pefts")


@pytest.fixture(scope="module")
def went_on(began, folder):
    """Zoo's after two epochs of PEFT's."""
    run = made(OURS, resumed=True)
    progress, _ = restore(run, began.checkpoint(BEFORE))
    return trained(run, progress, folder / "went_on")


def changed(run: Trained, since: dict[str, Tensor], kind: str) -> Tensor:
    """What the last epoch did to the weights of a set, or to a moment of them."""
    after = run.tensors()
    names = [name for name in sorted(since) if kind in (name.split("/")[0], name.split("/")[-1])]
    return torch.cat([(after[name] - since[name]).double().flatten() for name in names])


def distance(run: Trained, began: Trained, kind: str) -> float:
    """Of what the last epoch did in both, as a part of what it did in the one that began."""
    since = began.tensors(BEFORE)
    expected = changed(began, since, kind)
    return float((changed(run, since, kind) - expected).norm() / expected.norm())


@pytest.mark.slow
def test_the_checkpoint_loads_under_the_same_names_and_the_optimizer_is_kept(began):
    run, saved = made(OURS, resumed=True), began.tensors(BEFORE)
    progress, _ = restore(run, began.checkpoint(BEFORE))
    assert (progress.epoch, progress.step) == (BEFORE, 2 * BEFORE)
    have = {f"optimizer/{name}": value for name, value in run.model.engine.state().items()}
    for which in (Weights.LIVE, Weights.OLD, Weights.EMA):
        for name, value in run.model.policy.weights.tensors(which).items():
            have[f"{which.value}/{name}"] = value
    assert have.keys() == saved.keys()
    for name, value in have.items():
        assert torch.equal(value.whole(), saved[name]), name
    assert {float(v) for name, v in saved.items() if name.endswith("/step")} == {2.0 * BEFORE}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["live", "old", "ema", "exp_avg", "exp_avg_sq"])
def test_the_next_epoch_is_that_of_a_run_of_pefts_layer_throughout(kind, began, went_on):
    # Not bit for bit: the layer is another one indeed.
    assert 0 < distance(went_on, began, kind) < NEXT_EPOCH


@pytest.mark.slow
def test_the_metrics_are_those_of_a_run_of_either_layer_throughout(began, went_on, folder):
    assert went_on.learned() == pytest.approx(began.learned(), rel=NUMBERS)
    ours = trained(made(OURS), Progress(), folder / "ours")
    assert {name: (v.dtype, v.shape) for name, v in ours.tensors().items()} == {
        name: (v.dtype, v.shape) for name, v in went_on.tensors().items()
    }
    # Three epochs were rounded otherwise, and not one.
    assert went_on.learned() == pytest.approx(ours.learned(), rel=EPOCHS * NUMBERS)


@pytest.mark.slow
def test_an_optimizer_that_was_dropped_would_be_seen(began, folder, monkeypatch):
    run = made(OURS, resumed=True)
    with monkeypatch.context() as patch:
        patch.setattr(PlainEngine, "load", lambda self, state: None)
        progress, _ = restore(run, began.checkpoint(BEFORE))
    dropped = trained(run, progress, folder / "dropped")
    for kind in ("live", "old", "ema", "exp_avg", "exp_avg_sq"):
        assert distance(dropped, began, kind) > 5 * NEXT_EPOCH, kind
    assert dropped.learned() != pytest.approx(began.learned(), rel=NUMBERS)
