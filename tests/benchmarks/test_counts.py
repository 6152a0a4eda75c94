"""What the counts of benchmarks/counts.py are, on operations that one can count by hand."""

from unittest.mock import patch

import pytest
import torch
from torch import nn

from benchmarks.counts import Batch, Counts, counts, kept, lora_counts, table
from zoo.plan.live_bytes import META, LiveBytes
from zoo.policy import rms_norm
from zoo.policy.lora import Lora

X = torch.empty(4, 6, device=META)
Y = torch.empty(6, 5, device=META)
HALF = torch.empty(4, 6, device=META, dtype=torch.bfloat16)
ROW = torch.empty(6, device=META)


@pytest.mark.parametrize(
    ("call", "moved", "kernels", "flops"),
    [
        (lambda: X + X, 4 * (24 + 24), 1, 0),  # the same tensor twice is read once
        (lambda: X @ Y, 4 * (24 + 30 + 20), 1, 2 * 4 * 6 * 5),
        (lambda: X.t()[1:], 0, 0, 0),
        (lambda: X.view(2, 12), 0, 0, 0),
        (lambda: X.t().reshape(24), 2 * 4 * 24, 1, 0),  # a copy, for it cannot be a view
        (lambda: torch.empty_like(X), 0, 0, 0),
        (lambda: X.to(torch.bfloat16), (4 + 2) * 24, 1, 0),
        (lambda: X.float(), 0, 0, 0),
        (lambda: X.add_(1.0), 2 * 4 * 24, 1, 0),
        (lambda: X.zero_(), 4 * 24, 1, 0),
        (lambda: HALF.copy_(X), (4 + 2) * 24, 1, 0),
        (lambda: X * ROW.expand(4, 6), 4 * (24 + 6 + 24), 1, 0),
        (lambda: torch._foreach_copy_([HALF], [X]), (4 + 2) * 24, 1, 0),
        (lambda: torch.addmm(X[:, :5], X, Y), 4 * (20 + 24 + 30 + 20), 1, 2 * 4 * 6 * 5),
        (lambda: X[:, :5].addmm_(X, Y), 4 * (20 + 24 + 30 + 20), 1, 2 * 4 * 6 * 5),
    ],
)  # fmt: skip
def test_what_an_operation_moves(call, moved, kernels, flops):
    assert counts(call) == Counts(moved, kernels, flops)


def test_a_product_in_float8_reads_a_byte_a_number():
    x, weight = (torch.empty(16, 32, device=META, dtype=torch.float8_e4m3fn) for _ in range(2))
    scale, rows = torch.empty(16, 1, device=META), nn.functional.ScalingType.RowWise
    found = counts(
        lambda: nn.functional.scaled_mm(x, weight.t(), scale, rows, scale.t().contiguous(), rows)
    )
    assert found == Counts(2 * 16 * 32 + 2 * 4 * 16 + 2 * 16 * 16, 1, 2 * 16 * 16 * 32)


def test_attention_keeps_no_scores():
    query = torch.empty(2, 3, 7, 8, device=META)
    one = 4 * 2 * 3 * 7 * 8
    with LiveBytes():
        found = counts(lambda: nn.functional.scaled_dot_product_attention(query, query, query))
    # The three are one tensor; the output and its logarithm of a sum a row are written.
    assert found.bytes == one + one + 4 * 2 * 3 * 7
    assert found.flops == 2 * 2 * (2 * 3 * 7 * 7 * 8)


def test_what_is_kept_for_a_backward_and_what_the_backward_moves():
    with LiveBytes() as live, META:
        frozen = nn.Linear(6, 5, bias=False).requires_grad_(False)
        x = torch.empty(4, 6, requires_grad=True)
        assert kept(lambda: frozen(x), live) == 4 * 20  # its output alone
        assert kept(lambda: frozen(x).sigmoid().sum(), live) == 4 * (20 + 1)  # and the sum
        out = frozen(x)
        found = counts(lambda: out.backward(torch.empty(4, 5)))
    assert found == Counts(4 * (20 + 30 + 24), 1, 2 * 4 * 6 * 5)


def test_the_table_says_how_much_more_than_the_first_row():
    found = {"base": Counts(2 * 10**9, 10, 10**12), "LoRA": Counts(3 * 10**9, 12, 10**12, 10**9)}
    heading, base, lora = table(found)
    assert heading.split() == ["GB", "moved", "kernels", "TFLOP", "GB", "kept"]
    assert base.split() == ["base", "2.0", "(1.000)", "10", "(1.00)", "1.00", "(1.000)", "-"]
    assert lora.split() == ["LoRA", "3.0", "(1.500)", "12", "(1.20)", "1.00", "(1.000)", "1.00"]


@pytest.mark.slow
def test_lora_on_sd3_costs_little_more_than_its_base():
    """By the norms that diffusers spells out, as the base was counted first; and by fused ones."""
    batch, lora = Batch(images=8, resolution=512, text_tokens=205), Lora(rank=32, alpha=64)
    with patch.object(rms_norm, "fuse_norms", lambda network: None):
        found = lora_counts(batch, lora)
    base, adapted = found["base, forward"], found["LoRA, forward"]
    assert adapted.bytes <= 1.10 * base.bytes
    assert adapted.kernels <= 1.25 * base.kernels
    assert found["LoRA, forward with gradients"].kept <= 16.25e9
    fused = lora_counts(batch, lora)
    for name in ("LoRA, forward", "LoRA, backward"):
        assert fused[name].bytes <= base.bytes
    assert fused["LoRA, forward with gradients"].kept <= 12.25e9
