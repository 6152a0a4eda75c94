"""Products in float8: how far they are off, which layers make them, and that nothing else does."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.engine.in_processes import in_processes
from tests.policy.test_lora_linear import HALF, allocated, inputs, transformer, with_gradients
from zoo.plan.live_bytes import META, LiveBytes
from zoo.policy.float8 import Float8Linear, _rounded, products_in, quantize, require_float8
from zoo.policy.lora import ATTENTION
from zoo.policy.weights import Lora, WeightSets
from zoo.rollout import Weights


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(HALF)


def layer(sides: tuple[int, int], name: str = "ff", block: int = 0) -> nn.Module:
    """A network of one block with one frozen layer of this name."""
    torch.manual_seed(0)
    linear = nn.Linear(*sides).to(HALF).requires_grad_(False)
    parts: nn.Module = linear
    for part in reversed(name.split(".")):
        parts = nn.ModuleDict({part: parts})
    network = nn.Module()
    network.blocks = nn.ModuleList([nn.Identity()] * block + [parts])
    return network


def quantized(weights: WeightSets) -> list[str]:
    return [
        name.removesuffix(".base_layer")
        for name, module in weights.network.named_modules()
        if isinstance(module, Float8Linear)
    ]


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_a_number_is_off_by_half_a_step_of_three_bits(size: float) -> None:
    """2^-4 of itself, and bfloat16's 2^-8 as it is scaled; of the smallest, 2^-10 of the scale."""
    rows = size * normal(64, 256)
    values, scale = _rounded(rows)
    off = (values.double() * scale - rows.double()).abs()
    assert (off <= (2**-4 + 2**-8) * rows.double().abs() + 2**-10 * scale).all()
    assert values.float().abs().amax(1).eq(448).all()
    assert off.norm() > 0.02 * rows.double().norm()


def test_rows_of_zeros_and_of_broken_numbers() -> None:
    """A broken image stays broken, and breaks no other."""
    rows = normal(4, 16)
    rows[0] = 0
    rows[1, 3], rows[2, 3] = torch.inf, torch.nan
    values, scale = _rounded(rows)
    back = values.float() * scale
    assert back[0].eq(0).all()
    assert not back[1].isfinite().all()
    assert not back[2].isfinite().all()
    assert back[3].isfinite().all()


@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_off_by_what_its_factors_are(bias: bool) -> None:
    """Rounding to three bits costs a normal factor 2.65% of itself, whatever its size; two 3.7%."""
    network = layer((256, 128))
    linear = network.blocks[0]["ff"]
    linear.weight.data = 0.02 * normal(128, 256, seed=1)
    linear.bias = linear.bias if bias else None
    x = normal(3, 40, 256)
    exact = F.linear(x.double(), linear.weight.double())
    assert quantize(network) == 256 * 128 + 4 * 128
    with torch.no_grad(), products_in(network, "fp8"):
        out = linear(x)
    assert (out.shape, out.dtype) == ((3, 40, 128), HALF)
    off = out.double() - exact - (linear.bias.double() if bias else 0)
    assert 0.034 < off.norm() / exact.norm() < 0.04


def test_a_row_is_the_same_in_any_batch() -> None:
    network = layer((64, 32))
    quantize(network)
    linear, x = network.blocks[0]["ff"], normal(5, 64)
    x[3] *= 1000
    # Rows of another layout, as the half of a longer one's: they are the same numbers.
    long = torch.cat([x, x], dim=1)[:, :64].t().contiguous().t()
    with torch.no_grad(), products_in(network, "fp8"):
        whole = linear(x)
        assert torch.equal(linear(long), whole)
        for i in range(5):
            assert torch.equal(linear(x[i : i + 1]), whole[i : i + 1])


def test_attention_and_feed_forward_are_in_it_and_nothing_else() -> None:
    weights = allocated(HALF)
    quantize(weights.network)
    found = quantized(weights)
    kinds = {name.split(".", 2)[2] for name in found}
    both = {f"attn.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0")}
    text = {f"attn.{name}" for name in ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")}
    feed = {f"{name}.net.{i}" for name in ("ff", "ff_context") for i in ("0.proj", "2")}
    dual = {f"attn2.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0")}
    assert kinds == both | text | feed | dual
    # Three blocks; the last one's text stream ends at its keys and values, and has a query.
    assert len(found) == 3 * 4 + 3 * 3 + 2 + 3 * 2 + 2 * 2 + 4


@pytest.mark.parametrize(
    "name",
    ["norm1.linear", "img_mod.1", "adaLN_modulation.0", "resnets.0.time_emb_proj", "embedder"],
)
def test_norms_modulations_and_embeddings_stay(name: str) -> None:
    with pytest.raises(ValueError, match="has no blocks with frozen linear layers in bfloat16"):
        quantize(layer((32, 32), name))


@pytest.mark.parametrize("name", ["ff.net.0.proj", "img_mlp.net.2", "model.to_q", "proj_out"])
def test_other_names_are_of_attention_and_feed_forward(name: str) -> None:
    assert quantize(layer((32, 32), name)) == 32 * 32 + 4 * 32


def test_what_is_no_multiple_of_16_stays() -> None:
    for sides in ((24, 32), (32, 24)):
        with pytest.raises(ValueError, match="sides are multiples of 16"):
            quantize(layer(sides))
    assert quantize(layer((48, 16)))


def test_a_network_that_is_trained_or_in_float32_is_refused() -> None:
    for network in (transformer(torch.float32), transformer(HALF)):
        with pytest.raises(ValueError, match="SD3Transformer2DModel has no blocks with frozen"):
            quantize(network)


def test_outside_all_is_bit_for_bit_as_it_was() -> None:
    weights, plain = allocated(HALF, Weights.OLD), allocated(HALF, Weights.OLD)
    quantize(weights.network)

    def compare() -> None:
        for which in (Weights.LIVE, Weights.OLD, Weights.REFERENCE):
            with torch.no_grad(), weights.using(which), plain.using(which):
                assert torch.equal(weights(*inputs(HALF))[0], plain(*inputs(HALF))[0])
        pairs = zip(with_gradients(weights, HALF, 3), with_gradients(plain, HALF, 3), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)

    compare()
    with torch.no_grad(), products_in(weights.network, "fp8"):
        weights(*inputs(HALF))
    compare()
    with (
        pytest.raises(RuntimeError, match="stop"),
        torch.no_grad(),
        products_in(weights.network, "fp8"),
    ):
        raise RuntimeError("stop")
    compare()
    assert weights.network.state_dict().keys() == plain.network.state_dict().keys()
    assert [*dict(weights.network.named_buffers())] == [*dict(plain.network.named_buffers())]


def test_loras_products_are_added_in_bfloat16() -> None:
    """Of whichever set; what is left is the rounding of a sum in bfloat16."""
    weights = WeightSets(layer((64, 64)), Lora(rank=4, alpha=8), default_targets=("ff",))
    weights.allocate({Weights.OLD}, seed=0)
    quantize(weights.network)
    ours, x = weights.network.blocks[0]["ff"], normal(20, 64)
    with torch.no_grad():
        for p in (*weights.parameters().values(), *weights.parameters(Weights.OLD).values()):
            p.copy_(0.5 * normal(*p.shape, seed=1 + len(p)))
        with products_in(weights.network, "fp8"), weights.using(Weights.REFERENCE):
            base = ours(x)
        assert not torch.equal(base, F.linear(x, ours.base_layer.weight, ours.base_layer.bias))
        for which, adapter in ((Weights.LIVE, "default"), (Weights.OLD, "old")):
            a, b = ours.masters(adapter)
            with products_in(weights.network, "fp8"), weights.using(which):
                out = ours(x).double()
            added = 2 * (x.double() @ a.double().t()) @ b.double().t()
            right = base.double() + added
            assert (out - right).norm() < 2**-7 * right.norm() < 0.05 * added.norm()


def test_a_velocity_is_off_by_less_than_one_product() -> None:
    """What blocks add to the stream of tokens is rounded, and not the stream."""
    exact, weights = allocated(torch.float64), allocated(HALF)
    for p in exact.parameters().values():
        p.data = p.data.double()
    quantize(weights.network)
    errors = torch.zeros(2)
    with torch.no_grad():
        for seed in range(4):
            right = exact(*inputs(torch.float64, seed))[0]
            for i, kind in enumerate(("none", "fp8")):
                with products_in(weights.network, kind):
                    found = weights(*inputs(HALF, seed))[0].double()
                errors[i] += (found - right).norm() / right.norm() / 4
    assert 1e-3 < errors[0] < errors[1] < 0.037


def test_it_has_no_gradients_and_needs_quantized_weights() -> None:
    weights = allocated(HALF)
    with pytest.raises(RuntimeError, match="call quantize first"):
        products_in(weights.network, "fp8").__enter__()
    quantize(weights.network)
    with pytest.raises(RuntimeError, match=r"have no gradients; call it under torch.no_grad"):
        products_in(weights.network, "fp8").__enter__()


def test_its_bytes_are_those_that_a_dry_run_sees() -> None:
    with LiveBytes() as live, META:
        weights = allocated_on_meta()
        before = live.now
        assert quantize(weights.network) == live.now - before
        with torch.no_grad(), products_in(weights.network, "fp8"):
            weights(*(torch.empty_like(x, device=META) for x in inputs(HALF)))


def allocated_on_meta() -> WeightSets:
    weights = WeightSets(transformer(HALF), Lora(rank=4, alpha=8), default_targets=ATTENTION)
    weights.allocate((), seed=0)
    return weights


def test_a_device_that_cannot_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> Tensor:
        raise ValueError("scaled_mm is only supported on CUDA devices with compute capability")

    require_float8(torch.device("cpu"))
    monkeypatch.setattr(F, "scaled_mm", refuse)
    with pytest.raises(ValueError, match=r"cannot multiply in float8 on cpu \(ValueError: scaled"):
        require_float8(torch.device("cpu"))
    monkeypatch.delattr(F, "scaled_mm")  # a torch before it had one
    with pytest.raises(ValueError, match=r"with torch 2.10 or later"):
        require_float8(torch.device("cpu"))


@pytest.mark.slow
def test_a_compiled_block_has_one_graph_more(tmp_path: Path) -> None:
    # In a process of its own: the tests' checks of types around every function break graphs.
    in_processes("tests.policy.compiled_sets:check_float8", 1, tmp_path)
