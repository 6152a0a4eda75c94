"""The shipped digits policy."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.make_digits import prompt_accuracy
from zoo.data.digits import halves, prompts
from zoo.policy.digits import NUM_TOKENS, VOCABULARY, Digits, tokenize
from zoo.policy.weights import Lora
from zoo.prompt import Prompt
from zoo.rollout import Cond, Lookup, Weights, take

CPU = torch.device("cpu")
SHIPPED = Path(str(files("zoo") / "assets" / "digits.safetensors"))
KINDS = [pytest.param(Lora(rank=8, alpha=16), id="lora"), pytest.param(None, id="full")]
BOTH = pytest.mark.parametrize("lora", KINDS)


def points(num: int = 10) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num, 1, 8, 8, generator=generator), torch.linspace(0.05, 1.0, num)


def condition(policy: Digits, guidance: float = 1.0) -> Cond:
    return policy.encode(prompts("eval"), guidance=guidance)


def trained(lora: Lora | None) -> Digits:
    policy = Digits(CPU, lora=lora)
    policy.weights.allocate([Weights.OLD], seed=0)
    optimizer = torch.optim.AdamW(policy.weights.parameters().values(), lr=1e-2)
    for _ in range(2):
        policy.velocity(*points(), condition(policy)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return policy


@pytest.mark.slow
def test_the_base_draws_the_prompted_digit_in_about_half_of_its_images() -> None:
    accuracy = prompt_accuracy(Digits(CPU, lora=None))
    assert 0.42 < accuracy < 0.52
    with safe_open(SHIPPED, "pt") as file:
        recorded = file.metadata()
    assert recorded["made_by"] == "python -m zoo.make_digits"
    # It was of other noise: three standard errors of two shares of 1,000 images each.
    assert float(recorded["accuracy"]) == pytest.approx(accuracy, abs=0.067)


@BOTH
def test_live_is_the_base_at_the_start(lora: Lora | None) -> None:
    bare, policy = Digits(CPU, lora=None), Digits(CPU, lora=lora)
    policy.weights.allocate([Weights.OLD], seed=0)
    with torch.no_grad():
        expected = bare.velocity(*points(), condition(bare))
        for which in (Weights.LIVE, Weights.OLD, Weights.REFERENCE):
            with policy.weights.using(which):
                assert torch.equal(policy.velocity(*points(), condition(policy)), expected)


@BOTH
@torch.no_grad()
def test_old_follows_live_only_when_blended(lora: Lora | None) -> None:
    with torch.enable_grad():
        policy = trained(lora)
    cond, base = condition(policy), Digits(CPU, lora=None)
    live, expected = policy.velocity(*points(), cond), base.velocity(*points(), condition(base))
    assert (live - expected).abs().max() > 0.01
    with policy.weights.using(Weights.OLD):
        assert torch.equal(policy.velocity(*points(), cond), expected)
        policy.weights.blend(Weights.OLD, decay=0.0)
        assert torch.equal(policy.velocity(*points(), cond), live)
    with policy.weights.using(Weights.REFERENCE):
        assert torch.equal(policy.velocity(*points(), cond), expected)


def test_lora_trains_15_projections_of_the_two_blocks() -> None:
    policy = Digits(CPU)
    policy.weights.allocate([], seed=0)
    names = list(policy.weights.parameters())
    assert len(names) == 2 * 15
    assert sum(".attn.to_add_out." in name for name in names) == 2


def test_full_fine_tuning_trains_the_network_and_not_the_text_encoder() -> None:
    policy = Digits(CPU, lora=None)
    policy.weights.allocate([], seed=0)
    assert sum(p.numel() for p in policy.weights.parameters().values()) > 250_000
    cond = condition(policy, guidance=2.0)
    for lookup in cond.tensors.values():
        assert isinstance(lookup, Lookup)
        assert not lookup.table.requires_grad


@torch.no_grad()
def test_guidance_1_is_no_guidance_and_costs_one_forward() -> None:
    policy = Digits(CPU, lora=None)
    x, t = points()
    plain = policy.velocity(x, t, condition(policy))
    assert policy.weights.num_rows == 10
    unused = replace(condition(policy, guidance=3.0), guidance=1.0)
    assert torch.equal(policy.velocity(x, t, unused), plain)
    guided = policy.velocity(x, t, condition(policy, guidance=1.0 + 1e-6))
    torch.testing.assert_close(guided, plain, atol=1e-4, rtol=0)
    assert policy.weights.num_rows == 40


@torch.no_grad()
def test_guidance_moves_from_the_null_caption_s_velocity_through_the_prompt_s() -> None:
    policy = Digits(CPU, lora=None)
    x, t = points()
    null = policy.velocity(x, t, policy.encode([Prompt("")] * 10))
    plain = policy.velocity(x, t, condition(policy))
    guided = policy.velocity(x, t, condition(policy, guidance=3.0))
    torch.testing.assert_close(guided, null + 3.0 * (plain - null))


@pytest.mark.slow
def test_guidance_makes_the_digit_more_often_the_prompted_one() -> None:
    class Guided(Digits):
        def encode(self, prompts: list[Prompt], *, guidance: float = 3.0) -> Cond:  # type: ignore[override]
            return super().encode(prompts, guidance=guidance)

    assert prompt_accuracy(Guided(CPU, lora=None), images_per_prompt=20) > 0.8


def test_gradients_flow_through_live_and_the_conditional_branch_alone() -> None:
    policy = trained(Lora(rank=8, alpha=16))
    parameters = list(policy.weights.parameters().values())

    def gradient(guidance: float) -> Tensor:
        velocity = policy.velocity(*points(), condition(policy, guidance=guidance))
        found = torch.autograd.grad(velocity.sum(), parameters)
        return torch.cat([g.flatten() for g in found])

    torch.testing.assert_close(gradient(3.0), 3.0 * gradient(1.0), rtol=1e-4, atol=1e-4)
    with policy.weights.using(Weights.OLD):
        assert not policy.velocity(*points(), condition(policy)).requires_grad


@torch.no_grad()
def test_velocity_of_a_row_does_not_depend_on_the_batch() -> None:
    policy = Digits(CPU, lora=None)
    x, t = points()
    cond = condition(policy, guidance=2.0)
    together = policy.velocity(x, t, cond)
    for i in range(len(x)):
        row = torch.tensor([i])
        alone = policy.velocity(x[row], t[row], take(cond, row))
        torch.testing.assert_close(alone, together[row], rtol=1e-5, atol=2e-5)


def test_decode_of_a_row_does_not_depend_on_the_batch() -> None:
    policy = Digits(CPU, lora=None)
    x, _ = points()
    assert torch.equal(torch.cat([policy.decode(row) for row in x.split(1)]), policy.decode(x))


def test_decode_gives_grey_images_in_the_unit_range_and_latents_inverts_it() -> None:
    policy = Digits(CPU, lora=None)
    x, _ = points()
    images = policy.decode(x)
    assert images.shape == (10, 3, 8, 8)
    assert images.is_contiguous()
    assert (images.min(), images.max()) == (0.0, 1.0)
    assert torch.equal(images[:, 0], images[:, 2])
    torch.testing.assert_close(policy.latents(images), x.clamp(-1, 1))


def test_real_images_become_latents_and_come_back() -> None:
    policy = Digits(CPU, lora=None)
    images = torch.from_numpy(halves()[0].images[:20]).unsqueeze(1).repeat(1, 3, 1, 1)
    torch.testing.assert_close(policy.decode(policy.latents(images)), images)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"8 x 8 pixels, not 16 x 12; resize"):
        Digits(CPU, lora=None).latents(torch.zeros(1, 3, 16, 12))


@pytest.mark.parametrize("num_steps", [1, 4, 10])
def test_the_grid_goes_evenly_from_1_to_0(num_steps: int) -> None:
    grid = Digits(CPU, lora=None).grid(num_steps)
    assert grid.dtype is torch.float64
    assert (len(grid), grid[0], grid[-1]) == (num_steps + 1, 1.0, 0.0)
    torch.testing.assert_close(grid.diff(), torch.full_like(grid[1:], -1.0 / num_steps))


def test_rows_of_one_prompt_share_its_embedding() -> None:
    cond = take(condition(Digits(CPU, lora=None), guidance=2.0), torch.tensor([3, 3, 5]))
    words, null = cond.tensors["words"], cond.tensors["null_words"]
    assert isinstance(words, Lookup)
    assert isinstance(null, Lookup)
    assert (len(words.table), words.index.tolist()) == (10, [3, 3, 5])
    assert (len(null.table), null.index.tolist()) == (1, [0, 0, 0])


def test_words_are_looked_up_whatever_their_case_and_padded() -> None:
    (tokens,) = tokenize(["The digit SEVEN"])
    assert [VOCABULARY[i] for i in tokens.tolist()] == ["the", "digit", "seven", "", "", ""]
    assert tokenize([""]).tolist() == [[0] * NUM_TOKENS]


def test_an_unknown_word_is_named_with_the_vocabulary() -> None:
    with pytest.raises(
        ValueError, match=r"unknown word 'cat' in the prompt 'a photo of the cat'.*zero, one"
    ):
        Digits(CPU, lora=None).encode([Prompt("a photo of the cat")])


def test_a_prompt_of_too_many_words_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has 7 words; the digits model reads 6"):
        tokenize(["a photo of the digit seven seven"])


def test_a_checkpoint_of_one_s_own_is_loaded(tmp_path: Path) -> None:
    tensors = load_file(SHIPPED)
    save_file(
        {name: torch.zeros_like(t) for name, t in tensors.items()}, tmp_path / "zero.safetensors"
    )
    policy = Digits(CPU, lora=None, checkpoint=tmp_path / "zero.safetensors")
    assert not policy.velocity(*points(), condition(policy)).any()


def test_a_missing_checkpoint_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no such digits checkpoint: \S+none \(make one with"
    ) as error:
        Digits(CPU, checkpoint=tmp_path / "none")
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_checkpoint_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match=r"text cannot be read as safetensors: .*make one with"):
        Digits(CPU, checkpoint=tmp_path / "text")


def test_a_checkpoint_of_another_model_is_one_clear_line(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(ValueError, match=r"is not a checkpoint of the digits model: .* such as"):
        Digits(CPU, checkpoint=tmp_path / "other")
    tensors = load_file(SHIPPED)
    tensors["text_encoder.word.weight"] = torch.zeros(3, 64)
    save_file(tensors, tmp_path / "shape")
    with pytest.raises(ValueError, match=r"1 tensors are .* such as text_encoder.word.weight"):
        Digits(CPU, checkpoint=tmp_path / "shape")


def test_what_is_no_checkpoint_is_refused_before_a_model_is_made(tmp_path: Path) -> None:
    Digits.check_start({"checkpoint": None})
    Digits.check_start({"checkpoint": SHIPPED})
    (tmp_path / "text").write_text("hello")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other")
    for name, said in (
        ("none", "no such digits checkpoint"),
        ("text", "cannot be read as safetensors"),
        ("other", "is not a checkpoint of the digits model"),
    ):
        with pytest.raises(ValueError, match=said):
            Digits.check_start({"checkpoint": tmp_path / name})


@pytest.mark.parametrize(("half", "most"), [("bfloat16", 0.1), ("float16", 0.01)])
def test_a_network_in_half_precision_says_nearly_the_same_in_float32(half, most) -> None:
    prompts = [Prompt("a photo of the digit three")]
    x = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    said = []
    for dtype in ("float32", half):
        policy = Digits(torch.device("cpu"), dtype=dtype)
        with torch.no_grad():
            said.append(policy.velocity(x, torch.tensor([0.5]), policy.encode(prompts)))
    assert said[1].dtype == torch.float32
    assert not torch.equal(said[0], said[1])
    torch.testing.assert_close(said[1], said[0], rtol=most, atol=most)


@pytest.mark.parametrize(
    ("half", "least", "most"), [("bfloat16", 1e-4, 0.05), ("float16", 1e-5, 0.006)]
)
def test_all_of_it_is_trained_in_float32_and_computes_in_half_precision(half, least, most) -> None:
    """Gradients are those of float32 but for rounding: a last bit of 1/256, or 1/2048."""
    prompts = [Prompt("a photo of the digit three")] * 2
    x = torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8)
    made = {}
    for dtype in ("float32", half):
        policy = Digits(CPU, lora=None, dtype=dtype)
        policy.weights.allocate((Weights.OLD,), seed=0)
        velocity = policy.velocity(x, torch.tensor([0.5, 0.9]), policy.encode(prompts))
        velocity.square().mean().backward()
        live = policy.weights.parameters()
        made[dtype] = torch.cat([p.grad.flatten() for p in live.values() if p.grad is not None])
        assert velocity.dtype == made[dtype].dtype == torch.float32
        for which in (Weights.LIVE, Weights.OLD):
            assert {p.dtype for p in policy.weights.parameters(which).values()} == {torch.float32}
    exact, rounded = made["float32"].double(), made[half].double()
    away = float((rounded - exact).norm() / exact.norm())
    assert least < away < most
