"""NFT's pure functions against the reference."""

from inspect import unwrap

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import reference
from zoo.objective.nft import NFT, OldSchedule, nft_loss, old_decay, optimality
from zoo.objective.times import Times
from zoo.rollout import Cond, Path, Rollout
from zoo.seeds import Draws

MODES = ["all", "positive_only", "negative_only", "one_only", "binary"]
WEIGHTINGS = ["adaptive", "uniform"]
TIMES = {
    "a row each": torch.tensor([0.05, 0.3, 0.5, 0.7, 0.99, 1.0], dtype=torch.float64),
    "0-dim": torch.tensor(0.4, dtype=torch.float64),
    "python": 0.8,
    "noise": 1.0,
}


def inputs(dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    """The live and old velocities, x and clean."""
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(4, 6, 3, 4, 2, generator=generator, dtype=torch.float64).to(dtype))


@pytest.mark.parametrize("clip", [5.0, 1.0])
@pytest.mark.parametrize("mode", MODES)
def test_optimality_agrees_with_the_reference(mode, clip) -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.cat([5 * torch.randn(50, generator=generator), torch.tensor([0.0, -0.0, 5, -5, 99])])
    found = optimality(a.double(), clip=clip, mode=mode)
    wanted = reference.optimality(reference.array(a), clip=clip, mode=mode)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


@pytest.mark.parametrize(
    ("mode", "levels"), [("binary", {0.4, 0.5, 0.6}), ("one_only", {0.5, 0.6})]
)
def test_sign_modes_are_divided_by_the_clip_as_published(mode, levels) -> None:
    found = optimality(torch.tensor([-3.0, 0.0, 0.01]).double(), mode=mode)
    assert {round(float(r), 12) for r in found} == levels


@pytest.mark.parametrize("mode", MODES)
def test_optimality_of_nothing_is_nothing(mode) -> None:
    assert optimality(torch.zeros(0), mode=mode).shape == (0,)


@pytest.mark.parametrize("beta", [1.0, 0.1, 2.5])
@pytest.mark.parametrize("t", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
def test_the_loss_agrees_with_the_reference(dtype, tolerance, weighting, t, beta) -> None:
    live, old, x, clean = inputs(dtype)
    r = torch.tensor([0.0, 0.2, 0.5, 0.6, 0.9, 1.0], dtype=dtype)
    found = nft_loss(live, old, x, clean, t, r, beta=beta, clip=4.0, weighting=weighting)
    arrays = [reference.array(value) for value in (live, old, x, clean)]
    wanted = reference.nft_loss(
        *arrays, t, reference.array(r), beta=beta, clip=4.0, weighting=weighting
    )
    np.testing.assert_allclose(found, wanted, rtol=tolerance)


def test_a_perfect_prediction_costs_nothing_and_does_not_divide_by_zero() -> None:
    _, noise, _, clean = inputs()
    v, t = noise - clean, 0.5
    x = (1 - t) * clean + t * noise
    loss = nft_loss(v, v, x, clean, t, torch.full((6,), 0.3, dtype=torch.float64), beta=1.0)
    np.testing.assert_allclose(loss, np.zeros(6), atol=1e-20)


def test_the_adaptive_weight_has_a_floor_and_no_gradient() -> None:
    clean = torch.zeros(2, 3, dtype=torch.float64)
    v = torch.tensor([[1e-7] * 3, [2.0] * 3], dtype=torch.float64, requires_grad=True)
    one = torch.ones(2, dtype=torch.float64)
    loss = nft_loss(v, v.detach(), clean, clean, 1.0, one, beta=1.0, clip=1.0)
    torch.testing.assert_close(loss, torch.tensor([1e-14 / 1e-5, 2.0], dtype=torch.float64))
    loss.sum().backward()
    # d/dv of mean(v^2) / w is 2 v / (3 w), which it would not be if w had a gradient.
    wanted = torch.tensor([[2e-7 / 3e-5] * 3, [2 / 3] * 3], dtype=torch.float64)
    torch.testing.assert_close(v.grad, wanted)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("beta", [1.0, 0.1])
def test_at_live_equal_old_the_gradient_is_a_regression_weighted_by_2r_minus_1(
    beta, weighting
) -> None:
    live, _, x, clean = inputs()
    old = live.clone()
    live.requires_grad_()
    r = torch.tensor([0.0, 0.2, 0.5, 0.6, 0.9, 1.0], dtype=torch.float64)
    loss = nft_loss(live, old, x, clean, 0.7, r, beta=beta, clip=5.0, weighting=weighting)
    (found,) = torch.autograd.grad(loss.sum(), live)
    one = torch.ones(6, dtype=torch.float64)
    plain = nft_loss(live, old, x, clean, 0.7, one, beta=1.0, clip=1.0, weighting=weighting)
    (regression,) = torch.autograd.grad(plain.sum(), live)
    wanted = 5.0 * (2 * r - 1).reshape(-1, 1, 1, 1) * regression
    torch.testing.assert_close(found, wanted)
    assert float(found[2].abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("kind", "schedule"),
    [
        (0, {"flat": 0, "rate": 0.0, "cap": 0.0}),
        (1, {"flat": 0, "rate": 0.001, "cap": 0.5}),
        (2, {"flat": 75, "rate": 0.0075, "cap": 0.999}),
    ],
)
def test_the_old_decay_is_the_published_schedule(kind, schedule) -> None:
    for step in [0, 1, 2, 10, 74, 75, 76, 100, 208, 209, 499, 500, 501, 10_000]:
        assert old_decay(step, **schedule) == pytest.approx(
            reference.published_old_decay(step, kind), abs=1e-12
        )


# Under pytest the annotations refuse these first, which they do not in a run.
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_the_negative_term_may_weigh_less_or_nothing(weighting) -> None:
    live, old, x, clean = inputs()
    r = torch.linspace(0, 1, len(x), dtype=torch.float64)

    def loss(good, weight):
        return nft_loss(
            live, old, x, clean, 0.7, good, beta=0.5, weighting=weighting, negative_weight=weight
        )

    positive = r * loss(torch.ones_like(r), 1.0)
    negative = (1 - r) * loss(torch.zeros_like(r), 1.0)
    for weight in (0.0, 0.3, 1.0):
        torch.testing.assert_close(loss(r, weight), positive + weight * negative)


def test_without_equal_terms_there_is_no_probe() -> None:
    assert unwrap(NFT.probes)(NFT(negative_weight=0.0), None, None, None) == ()


def test_an_unknown_mode_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"mode is one of all, positive_only, .*, not 'positive'"):
        unwrap(optimality)(torch.zeros(1), mode="positive")


def test_an_unknown_weighting_is_refused() -> None:
    live, old, x, clean = inputs()
    with pytest.raises(ValueError, match="'adaptive' or 'uniform', not 'plain'"):
        unwrap(nft_loss)(live, old, x, clean, 0.5, torch.ones(6), beta=1.0, weighting="plain")


TYPE_2 = OldSchedule(flat=75, rate=0.0075, cap=0.999)


@pytest.mark.parametrize(
    ("old", "before", "after", "doubted"),
    [
        (OldSchedule(), 0, 1, False),  # nothing has moved
        (OldSchedule(), 0, 2, True),  # live had moved at the second update
        (OldSchedule(), 1, 2, True),  # old has kept of itself
        (OldSchedule(rate=0), 40, 41, False),  # old is set to live after each epoch
        (OldSchedule(rate=0), 40, 42, True),
        (TYPE_2, 75, 76, False),
        (TYPE_2, 76, 77, True),
    ],
)
def test_live_that_never_left_old_is_doubted(old, before, after, doubted) -> None:
    objective = NFT(old=old)
    assert len(objective.doubts({"old_gap": 0.0}, before, after)) == doubted
    assert objective.doubts({"old_gap": 1e-30}, before, after) == ()
    assert objective.doubts({}, before, after) == ()


@pytest.mark.parametrize(
    ("options", "allowed", "count"),
    [
        ({}, [1.0, 0.9, 0.7, 0.4, 0.2], 4),  # published: 99% of them, rounded down
        ({"trained_steps": 2}, [1.0, 0.9, 0.7, 0.4, 0.2], 2),
        ({"times": Times(part=0.6)}, [1.0, 0.9, 0.7], 2),
        ({"times": Times(part=0.6, skip=1), "trained_steps": 2}, [0.9, 0.7], 2),
    ],
)
def test_each_image_is_trained_at_times_of_the_sampler_s_own(options, allowed, count) -> None:
    number = torch.arange(20)
    made = Rollout(
        number, number // 4, Path(torch.randn(20, 3), 0), Cond({"i": number}),
        grid=torch.tensor([1.0, 0.9, 0.7, 0.4, 0.2, 0.0]),
    )  # fmt: skip
    rows = NFT(**options).rows(made, torch.ones(20).double(), Draws(0, "rows", 0, number))
    by_image = rows.t.reshape(20, count)
    assert set(by_image.flatten().tolist()) == set(torch.tensor(allowed).tolist())
    assert all(len(set(each)) == count for each in by_image.tolist())
