"""Flow-GRPO on a GPU: products are rounded otherwise for another number of rows.

That is emulated here: of a product's numbers some move to a neighbour in bfloat16, which ones by
their value and by how many rows go through together. A learning rate of almost nothing leaves the
model what it was, so that every ratio of an epoch should be 1.
"""

import json

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.runs import RECIPES
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
        if func in PRODUCTS:
            bits = out.double().view(torch.int64) + len(out) * 69069
            mixed = ((bits ^ (bits >> 29)) * 2654435761) & 0xFFFFF
            moved = mixed < 2**20 // ONE_IN
            out.copy_(torch.where(moved, out * (1 + 2**-8), out))
        return out


def epoch(tmp_path, **changes):
    """The averages of an epoch whose rows are trained 6 at a time, and were made 8 at a time."""
    made = recipe(
        RECIPES["flow_grpo"],
        **{
            **ONE_UPDATE, "engine__micro_batch": "{sample: 8, train: 6}", "optim__lr": 1e-30,
            "optim__updates_per_epoch": 2, "objective__clip_range": 1e-4, "epochs": 1,
            "policy__dtype": "float32", **changes,
        },
    )  # fmt: skip
    with RoundingByRows():
        lines = train_here(made, tmp_path)
    return made, lines


@pytest.mark.slow
def test_rounding_takes_the_ratio_from_1_and_recomputing_brings_it_back(tmp_path):
    _, (_, off) = epoch(tmp_path / "off")
    assert off["clip_fraction"] > 0.2
    # The probe sees it, of the micro-batch that is trained, before anything is paid for.
    (probe,) = [
        one for one in json.loads((tmp_path / "off" / PROBES).read_text()) if "ratio" in one["name"]
    ]
    assert abs(probe["measured"] - 1) > 1e-4
    assert not probe["holds"]
    _, (_, on) = epoch(tmp_path / "on", objective__recompute_old="true")
    assert on["clip_fraction"] == 0
    assert on["ratio"] == 1


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("updates", [1, 2, 4])
def test_it_costs_a_forward_a_row_of_all_updates_but_the_first(updates, tmp_path):
    rows, forwards = [], []
    for recompute in ("false", "true"):
        made, (_, line) = epoch(
            tmp_path / recompute, optim__updates_per_epoch=updates,
            objective__recompute_old=recompute,
        )  # fmt: skip
        planned = plan(made, 1)
        rows.append(planned.rows)
        forwards.append(line["num_evals"])
        assert line["num_evals"] == planned.collect_forwards + planned.train_forwards
    assert rows[0] == rows[1]
    assert forwards[1] - forwards[0] == rows[0] * (updates - 1) // updates
