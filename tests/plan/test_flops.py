"""FLOPs are counted as written out by hand, and the estimate before a run is what the run does."""

import pytest
import torch
import torch.nn.functional as F

from tests.runs import RECIPES
from tests.train_here import ONE_UPDATE, epoch_here, recipe
from zoo.cli.check_cost import _duration, _flops
from zoo.plan.flops import counter, reachable
from zoo.plan.footprint import footprint
from zoo.plan.live_bytes import LiveBytes
from zoo.training.build import build


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_products_and_attention_are_counted(device):
    batch, heads, tokens, width = 2, 3, 8, 16
    x = torch.ones(batch, heads, tokens, width, device=device, requires_grad=True)
    weight = torch.ones(5, width, device=device)
    with LiveBytes(), counter() as flops:
        y = F.scaled_dot_product_attention(x, x, x)
    attention = 2 * 2 * batch * heads * tokens**2 * width
    assert flops.get_total_flops() == attention
    with LiveBytes(), counter() as flops:
        y.sum().backward()
    # Five products of that size: the scores again, and a gradient for each operand of both.
    assert flops.get_total_flops() == attention * 5 // 2
    with counter() as flops:
        F.linear(x.detach(), weight)
    assert flops.get_total_flops() == 2 * batch * heads * tokens * width * 5


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_products_in_float8_are_counted(device):
    x = torch.ones(16, 32, device=device).to(torch.float8_e4m3fn)
    scale, rows = torch.ones(16, 1, device=device), F.ScalingType.RowWise
    with counter() as flops:
        F.scaled_mm(x, x.t(), scale, rows, scale.t().contiguous(), rows)
    assert flops.get_total_flops() == 2 * 16 * 16 * 32


@pytest.mark.parametrize(
    ("algorithm", "checkpointing"),
    [
        ("flow_grpo", False),
        *(
            pytest.param(name, checkpointing, marks=pytest.mark.slow)
            for name in RECIPES
            for checkpointing in (False, True)
            if (name, checkpointing) != ("flow_grpo", False)
        ),
    ],
)
def test_the_estimate_is_what_an_epoch_does(algorithm, checkpointing):
    changes = {**ONE_UPDATE, "engine__gradient_checkpointing": checkpointing}
    made = recipe(RECIPES[algorithm], **changes)
    estimate = footprint(made, 1).flops
    run = build(made)
    with counter() as flops:
        epoch_here(run.stages[0])
    # Not estimated: the digits' own encoder of prompts.
    assert flops.get_total_flops() == pytest.approx(estimate, rel=0.01)


@pytest.mark.slow
def test_a_device_reaches_something():
    assert 1e6 < reachable(torch.device("cpu"), torch.float32) < 1e16


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 FLOP"), (1.5e9, "1.5 GFLOP"), (9.89e14, "989 TFLOP")]
)
def test_numbers_are_short(number, said):
    assert _flops(number) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.27, "0.27 s"), (90, "90 s"), (600, "10 min"), (7200, "2 h"), (1e6, "12 days")],
)
def test_durations_are_short(seconds, said):
    assert _duration(seconds) == said
