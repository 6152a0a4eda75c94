"""diffusers' root-mean-square norm by torch's operation: nearer to float64, and the same else."""

import copy

import pytest
import torch
from diffusers.models.normalization import RMSNorm
from torch import nn

from zoo.plan.live_bytes import META, LiveBytes
from zoo.policy.rms_norm import FusedRMSNorm, fuse_norms
from zoo.policy.tiny import sd3_transformer
from zoo.policy.weights import WeightSets

HEADS, ROWS = (2, 6, 20, 64), (3, 50, 96)


def norms(width, dtype, **options):
    """diffusers', and the same fused."""
    torch.manual_seed(0)
    theirs = RMSNorm(width, eps=1e-6, **options).to(dtype)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, mean=1.0, std=0.3)
    ours = copy.deepcopy(theirs)
    fuse_norms(ours)
    assert type(ours) is FusedRMSNorm
    return theirs, ours


def input_of(shape, dtype):
    """Normal; of four axes as heads come, tokens before heads in memory."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    return x.transpose(1, 2).contiguous().transpose(1, 2) if len(shape) == 4 else x


def output_and_gradient(norm, x):
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    out = norm(x)
    out.backward(torch.linspace(-1, 1, out.numel()).reshape(out.shape).to(out.dtype))
    return out.detach(), x.grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [HEADS, ROWS])
def test_in_half_precision_it_is_nearer_to_float64(shape, dtype):
    theirs, ours = norms(shape[-1], dtype)
    x = input_of(shape, dtype)
    exact = output_and_gradient(copy.deepcopy(theirs).double(), x.double())
    for of_ours, of_theirs, right in zip(
        output_and_gradient(ours, x), output_and_gradient(theirs, x), exact, strict=True
    ):
        assert of_ours.dtype == dtype
        assert of_ours.stride() == of_theirs.stride()
        mistakes = [(each.double() - right).abs().mean() for each in (of_ours, of_theirs)]
        assert 0 < mistakes[0] < mistakes[1]
        # Of numbers about 1, rounded once: half of the last place's, a quarter of it on average.
        assert mistakes[0] < torch.finfo(dtype).eps / 4


@pytest.mark.parametrize("shape", [HEADS, ROWS])
def test_in_float32_it_is_diffusers_bit_for_bit(shape):
    theirs, ours = norms(shape[-1], torch.float32)
    x = input_of(shape, torch.float32)
    for one, other in zip(
        output_and_gradient(ours, x), output_and_gradient(theirs, x), strict=True
    ):
        assert torch.equal(one, other)
    assert torch.equal(ours.weight.grad, theirs.weight.grad)


@pytest.mark.parametrize(
    ("dtype", "options"), [(torch.float32, {}), (torch.bfloat16, {"bias": True})]
)
def test_what_torch_has_not_is_left_to_diffusers(dtype, options):
    # A weight of another type than the input, and a bias.
    theirs, ours = norms(96, dtype, **options)
    x = input_of(ROWS, torch.bfloat16)
    assert torch.equal(ours(x), theirs(x))


def test_without_weights_it_is_rounded_as_by_diffusers():
    theirs, ours = norms(96, torch.bfloat16, elementwise_affine=False)
    x = input_of(ROWS, torch.bfloat16)
    assert torch.equal(ours(x), theirs(x))


def test_a_networks_norms_are_fused_under_their_names():
    network = sd3_transformer(side=8, channels=4, positions=4, dual=(0,)).bfloat16()
    names = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = [name for name, module in network.named_modules() if type(module) is RMSNorm]
    assert any(name.endswith("attn2.norm_q") for name in found)
    weights = WeightSets(network, None)
    assert all(type(network.get_submodule(name)) is FusedRMSNorm for name in found)
    assert all(torch.equal(names[name], tensor) for name, tensor in network.state_dict().items())
    copied = copy.deepcopy(weights.network)
    assert all(type(copied.get_submodule(name)) is FusedRMSNorm for name in found)


def test_on_meta_it_keeps_the_input_and_two_numbers_a_row():
    with LiveBytes() as live, META:
        norm = RMSNorm(96, eps=1e-6).bfloat16().requires_grad_(False)
        fuse_norms(norm)
        x = torch.empty(ROWS, dtype=torch.bfloat16, requires_grad=True)
        before = live.now
        out = norm(x)
        # `layer_norm`, which stands for it, has a mean beside the norm.
        assert live.now - before == out.nbytes + 2 * 4 * out[..., 0].numel()
