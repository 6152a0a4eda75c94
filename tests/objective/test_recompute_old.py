"""Flow-GRPO on a GPU: products are rounded otherwise for another number of rows.

That is emulated here: of a product's numbers some move to a neighbour in bfloat16, which ones by
their value and by how many rows go through together. A learning rate of almost nothing leaves the
model what it was, so that every ratio of an epoch should be 1.
"""

import json
from contextlib import nullcontext

import pytest
import torch
from diffusers import SD3Transformer2DModel
from torch.utils._python_dispatch import TorchDispatchMode

from tests.runs import ROOT
from tests.train_here import ONE_UPDATE, recipe, train_here
from zoo.plan.geometry import plan
from zoo.run.folder import PROBES

aten = torch.ops.aten
PRODUCTS = {aten.addmm.default, aten.mm.default, aten.bmm.default, aten.convolution.default}
ONE_IN = 20


class RoundingByRows(TorchDispatchMode):
    """Relative changes of 2^-8, as of a bfloat16's last bit."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        return out.copy_(rounded(out)) if func in PRODUCTS else out


def rounded(out):
    """Some of its numbers with another last bit, by their values and by how many rows there are."""
    bits = out.detach().double().view(torch.int64) + len(out) * 69069
    mixed = ((bits ^ (bits >> 29)) * 2654435761) & 0xFFFFF
    return torch.where(mixed < 2**20 // ONE_IN, out * (1 + 2**-8), out)


BOUNDS = {
    "flow_grpo": ("clip_range", 1e-4, "clip_fraction"),
    "grpo_guard": ("clip_range", 1e-4, "clip_fraction"),
    "flow_dppo": ("threshold", 1e-8, "dropped_fraction"),
}
"""Of each objective what says how far a row may go, and which part has gone too far."""


def epoch(tmp_path, objective="flow_grpo", *, rounding=True, **changes):
    """The averages of an epoch whose rows are trained 6 at a time, and were made 8 at a time."""
    bound, value, _ = BOUNDS[objective]
    made = recipe(
        ROOT / "recipes" / f"{objective}_digits.yaml",
        **{
            **ONE_UPDATE, "engine__micro_batch": "{sample: 8, train: 6}", "optim__lr": 1e-30,
            "optim__updates_per_epoch": 2, f"objective__{bound}": value, "epochs": 1,
            "policy__dtype": "float32", **changes,
        },
    )  # fmt: skip
    with RoundingByRows() if rounding else nullcontext():
        lines = train_here(made, tmp_path)
    return made, lines


@pytest.mark.slow
@pytest.mark.parametrize("objective", BOUNDS)
def test_rounding_takes_the_ratio_from_1_and_recomputing_brings_it_back(objective, tmp_path):
    too_far = BOUNDS[objective][2]
    _, (_, off) = epoch(tmp_path / "off", objective)
    assert off[too_far] > 0.1
    # The probe sees it, of the micro-batch that is trained, before anything is paid for.
    (probe,) = [
        one for one in json.loads((tmp_path / "off" / PROBES).read_text()) if "ratio" in one["name"]
    ]
    assert abs(probe["measured"] - 1) > 1e-4
    assert probe["holds"] == (objective == "flow_dppo" and abs(probe["measured"] - 1) < 1e-3)
    _, (_, on) = epoch(tmp_path / "on", objective, objective__recompute_old="true")
    assert on[too_far] == 0
    assert on["ratio"] == 1


@pytest.mark.slow
def test_guided_batches_of_one_size_are_rounded_alike(tmp_path, monkeypatch):
    """A pipeline's branches are forwards of their own, whether it samples, learns or looks back."""
    forward, sizes = SD3Transformer2DModel.forward, set()

    def by_rows(network, *args, **kwargs):
        (out,) = forward(network, *args, **{**kwargs, "return_dict": False})
        sizes.add(len(out))
        return (rounded(out),)

    made = recipe(
        ROOT / "recipes" / "flow_grpo_scenes.yaml",
        **{
            **ONE_UPDATE, "policy__dtype": "bfloat16", "sampler__guidance": 3, "epochs": 1,
            "objective__kl_weight": 0.04, "objective__clip_range": 1e-6, "optim__lr": 1e-30,
        },
    )  # fmt: skip
    monkeypatch.setattr(SD3Transformer2DModel, "forward", by_rows)
    _, line = train_here(made, tmp_path)
    assert (line["ratio"], line["clip_fraction"], line["kl"]) == (1, 0, 0)
    (probe,) = [
        one for one in json.loads((tmp_path / PROBES).read_text()) if "ratio" in one["name"]
    ]
    assert probe["measured"] == 1
    assert max(sizes) == 8


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("objective", ["grpo_guard", "flow_dppo", "flow_grpo"])
def test_where_nothing_is_rounded_otherwise_it_learns_the_same(objective, tmp_path):
    bound = BOUNDS[objective][0]
    found = []
    for recompute in ("false", "true"):
        _, (_, line) = epoch(
            tmp_path / recompute, objective, rounding=False, optim__lr=1e-2,
            objective__recompute_old=recompute, **{f"objective__{bound}": 10},
        )  # fmt: skip
        found.append(line)
    off, on = found
    assert off["ratio"] != 1
    # Float32 forwards of 8 rows and of 6 differ in their last digits. No row is near the bound,
    # where these would decide.
    for key in ("loss", "ratio", "grad_norm"):
        assert on[key] == pytest.approx(off[key], rel=1e-4, abs=1e-6), key


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("objective", ["grpo_guard", "flow_grpo", "flow_dppo"])
@pytest.mark.parametrize("updates", [2, 1, 4])
def test_it_costs_a_forward_a_row_of_all_updates_but_the_first(updates, objective, tmp_path):
    rows, forwards = [], []
    for recompute in ("false", "true"):
        made, (_, line) = epoch(
            tmp_path / recompute, objective, optim__updates_per_epoch=updates,
            objective__recompute_old=recompute,
        )  # fmt: skip
        planned = plan(made, 1)
        rows.append(planned.rows)
        forwards.append(line["num_evals"])
        assert line["num_evals"] == planned.collect_forwards + planned.train_forwards
    assert rows[0] == rows[1]
    assert forwards[1] - forwards[0] == rows[0] * (updates - 1) // updates
