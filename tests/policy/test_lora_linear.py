"""LoRA's layer over a base in half precision: its arithmetic against PEFT's, what it follows."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.engine.in_processes import in_processes
from zoo.plan.live_bytes import META, LiveBytes
from zoo.policy.blocks import checkpoint_gradients
from zoo.policy.lora import ATTENTION
from zoo.policy.lora_linear import HalfLinear
from zoo.policy.weights import Lora, WeightSets
from zoo.rollout import Weights

HALF = torch.bfloat16


def transformer(dtype: torch.dtype) -> nn.Module:
    """SD3's, tiny; its values are those of bfloat16 whatever they are stored in."""
    import diffusers

    torch.manual_seed(0)
    network = diffusers.SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=3,
        attention_head_dim=16, num_attention_heads=2, joint_attention_dim=24,
        caption_projection_dim=32, pooled_projection_dim=16, qk_norm="rms_norm",
        pos_embed_max_size=8, dual_attention_layers=(0,),
    )  # fmt: skip
    return nn.Module.to(nn.Module.to(network, HALF), dtype)


def allocated(dtype: torch.dtype, *copies: Weights) -> WeightSets:
    """With a LoRA that is not zero."""
    weights = WeightSets(transformer(dtype), Lora(rank=4, alpha=8), default_targets=ATTENTION)
    weights.allocate(copies, seed=0)
    draw(weights, Weights.LIVE)
    return weights


def draw(weights: WeightSets, which: Weights, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in weights.parameters(which).values():
            p.copy_(0.05 * torch.randn(p.shape, generator=generator))


def inputs(dtype: torch.dtype, seed: int = 2, batch: int = 3) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, 4, 8, 8), (batch, 5, 24), (batch, 16))
    drawn = [torch.randn(shape, generator=generator).to(HALF).to(dtype) for shape in shapes]
    return (*drawn, torch.linspace(100, 900, batch, dtype=dtype))


def output(weights: WeightSets, which: Weights = Weights.LIVE, dtype: torch.dtype = HALF) -> Tensor:
    with torch.no_grad(), weights.using(which):
        out: Tensor = weights(*inputs(dtype))[0]
    return out


def as_peft(weights: WeightSets) -> WeightSets:
    """The same layers with PEFT's own forward."""
    for layer in half_layers(weights):
        layer.forward = super(HalfLinear, layer).forward
    return weights


def half_layers(weights: WeightSets) -> list[HalfLinear]:
    return [m for m in weights.network.modules() if isinstance(m, HalfLinear)]


def with_gradients(weights: WeightSets, dtype: torch.dtype, seed: int) -> tuple[Tensor, Tensor]:
    """The output and all gradients, each as one tensor in float64."""
    x = inputs(dtype, seed)
    out = weights(*x)[0]
    out.backward(inputs(dtype, seed + 100)[0])
    gradients = [p.grad for p in weights.parameters().values()]
    for p in weights.parameters().values():
        p.grad = None
    return out.detach().double(), torch.cat([g.double().flatten() for g in gradients])


def one_layer(dtype: torch.dtype) -> tuple[HalfLinear, Tensor]:
    """Made by hand over any dtype, and its input."""
    from peft import LoraConfig

    torch.manual_seed(0)
    base = nn.Linear(12, 10).to(dtype).requires_grad_(False)
    layer = HalfLinear(base, "default", config=LoraConfig(), r=4, lora_alpha=6)
    nn.init.normal_(layer.lora_B["default"].weight)
    x = torch.randn(2, 5, 12, dtype=dtype, requires_grad=True)
    return layer, x


def test_only_plain_linear_layers_in_half_precision_are_ours() -> None:
    class Other(nn.Linear):
        """As those of quantized weights."""

    network = nn.Sequential(nn.Linear(4, 4), Other(4, 4), nn.Linear(4, 4)).to(HALF)
    network[2].float()
    weights = WeightSets(network, Lora(rank=2, alpha=4), default_targets=("0", "1", "2"))
    weights.allocate((), seed=0)
    assert half_layers(weights) == [network[0]]
    assert [type(m).__name__ for m in network] == ["HalfLinear", "Linear", "Linear"]
    names = set(weights.parameters())
    assert {f"{i}.lora_{part}.weight" for i in range(3) for part in "AB"} == names
    assert {p.dtype for p in weights.parameters().values()} == {torch.float32}


def test_in_float32_it_is_pefts_to_rounding() -> None:
    layer, x = one_layer(torch.float32)
    parameters = [x, *layer.masters("default")]
    expected = layer(x)
    gradients = torch.autograd.grad(expected.square().sum(), parameters)
    layer.casts, layer.chosen = layer.cast("default"), "default"
    found = layer(x)
    assert "Adapted" in type(found.grad_fn.next_functions[0][0]).__name__
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    for ours, pefts in zip(
        torch.autograd.grad(found.square().sum(), parameters), gradients, strict=True
    ):
        assert (ours - pefts).norm() < 1e-6 * pefts.norm()


def test_in_float64_its_gradients_are_those_of_finite_differences() -> None:
    layer, x = one_layer(torch.float64)
    layer.double()
    layer.chosen = "default"

    def call(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        from zoo.policy.lora_linear import _Adapted

        base, scale = layer.base_layer, layer.scaling["default"]
        casts = (a.detach(), b.detach() * scale)
        return _Adapted.apply(x.reshape(-1, 12), base.weight, base.bias, a, b, *casts, scale)

    assert torch.autograd.gradcheck(call, (x, *layer.masters("default")))


def test_it_keeps_its_input_as_it_is_and_the_rank_s_numbers_of_each_row() -> None:
    with LiveBytes() as live, META:
        layer, _ = one_layer(HALF)
        x = torch.empty(6, 12, dtype=HALF, requires_grad=True)
        layer.casts, layer.chosen = layer.cast("default"), "default"
        before = live.now
        out = layer(x)
        assert live.now - before == 2 * 6 * (10 + 4)
    assert out.shape == (6, 10)


def test_in_bfloat16_it_is_as_close_to_float64_as_pefts() -> None:
    exact = allocated(torch.float64)
    for p in exact.parameters().values():
        p.data = p.data.double()
    ours, pefts = allocated(HALF), as_peft(allocated(HALF))
    errors = torch.zeros(2, 2)
    for seed in range(4):
        right = with_gradients(exact, torch.float64, seed)
        for i, weights in enumerate((ours, pefts)):
            for j, found in enumerate(with_gradients(weights, HALF, seed)):
                errors[i, j] += (found - right[j]).norm() / right[j].norm()
    assert errors.min() > 1e-3  # bfloat16's own, in either
    assert errors[0, 0] < 1.02 * errors[1, 0]
    assert errors[0, 1] < 1.06 * errors[1, 1]


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("way", ["optimizer", "copy", "data", "assign", "blend"])
def test_it_follows_what_is_written_into_its_parameters(way: str) -> None:
    weights = allocated(HALF, Weights.OLD)
    which = Weights.OLD if way == "blend" else Weights.LIVE
    before = output(weights, which)
    if way == "optimizer":
        with_optimizer(weights)
    elif way == "copy":
        draw(weights, which, seed=5)
    elif way == "data":
        for p in weights.parameters().values():
            p.data = 2 * p.data
    elif way == "assign":
        values = {name: 2 * p.detach() for name, p in weights.parameters().items()}
        weights.assign(which, values)
    else:
        weights.blend(which, decay=0.0)
    after = output(weights, which)
    assert not torch.equal(after, before)
    weights.changed(which)
    assert torch.equal(output(weights, which), after)


def with_optimizer(weights: WeightSets) -> None:
    optimizer = torch.optim.AdamW(weights.parameters().values(), lr=0.1)
    weights(*inputs(HALF))[0].square().sum().backward()
    optimizer.step()


def test_values_are_cast_once_an_update(monkeypatch) -> None:
    weights = allocated(HALF, Weights.OLD)
    cast: list[str] = []
    once = HalfLinear.cast
    monkeypatch.setattr(
        HalfLinear, "cast", lambda self, name: cast.append(name) or once(self, name)
    )
    for _forward in range(3):
        output(weights)
        output(weights, Weights.OLD)
    assert sorted(cast) == ["default"] * len(half_layers(weights)) + ["old"] * len(
        half_layers(weights)
    )
    with_optimizer(weights)
    cast.clear()
    output(weights)
    output(weights, Weights.OLD)
    assert cast == ["default"] * len(half_layers(weights))


def test_what_has_waited_elsewhere_is_cast_anew_for_the_engine_that_takes_it() -> None:
    weights = allocated(HALF)
    assert devices_of_casts(weights) == {"cpu"}
    weights.module.to(META)
    weights.attach(weights.module, lambda tensors, written: nullcontext())
    # Before any forward of a set: a pipeline that is checked calls the network itself.
    assert devices_of_casts(weights) == {"meta"}


def devices_of_casts(weights: WeightSets) -> set[str]:
    return {cast.device.type for layer in half_layers(weights) for cast in layer.casts or ()}


def test_without_adapters_it_is_the_base() -> None:
    """But for the last bit, 1/256, of what the network cuts of a longer row: it is multiplied so
    that live without a LoRA is equal."""
    weights = allocated(HALF)
    base = transformer(HALF)(*inputs(HALF))[0].detach()
    reference = output(weights, Weights.REFERENCE)
    torch.testing.assert_close(reference, base, rtol=0, atol=float(base.abs().max()) / 64)
    with torch.no_grad(), weights.bare():
        assert torch.equal(weights(*inputs(HALF))[0], reference)
    assert float((output(weights) - base).norm()) > 3 * float((reference - base).norm())


@pytest.mark.parametrize("shape", [(6, 32), (3, 5, 32), (2, 3, 5, 32)])
def test_the_reference_is_live_bit_for_bit_while_b_is_zero(shape: tuple[int, ...]) -> None:
    """Torch rounds a product otherwise where its rows are no matrix of their own."""
    generator = torch.Generator().manual_seed(3)
    network = nn.Sequential(nn.Linear(32, 48)).to(HALF)
    weights = WeightSets(network, Lora(rank=4, alpha=8), default_targets=("0",))
    weights.allocate((), seed=0)
    whole = torch.randn(*shape[:-1], 2 * shape[-1], generator=generator).to(HALF)
    for x in (whole[..., : shape[-1]], whole[..., : shape[-1]].contiguous()):
        with torch.no_grad(), weights.using(Weights.REFERENCE):
            reference = weights(x)
        assert torch.equal(weights(x), reference)
        with weights.bare():
            assert torch.equal(weights(x), reference)


@pytest.mark.slow
def test_a_backward_is_of_live_whatever_was_used_since() -> None:
    weights, other = allocated(HALF, Weights.OLD), allocated(HALF, Weights.OLD)
    checkpoint_gradients(other.network.train())
    draw(weights, Weights.OLD, seed=7)
    draw(other, Weights.OLD, seed=7)
    _, expected = with_gradients(weights, HALF, 3)
    for sets in (weights, other):
        out = sets(*inputs(HALF, 3))[0]
        output(sets, Weights.OLD)
        out.backward(inputs(HALF, 103)[0])
        found = torch.cat([p.grad.double().flatten() for p in sets.parameters().values()])
        assert torch.equal(found, expected)


@pytest.mark.slow
def test_all_sets_share_what_is_compiled(tmp_path: Path) -> None:
    # In a process of its own: the tests' checks of types around every function break graphs.
    in_processes("tests.policy.compiled_sets:check", 1, tmp_path)
