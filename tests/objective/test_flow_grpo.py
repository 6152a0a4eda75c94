"""Flow-GRPO's surrogate against the reference, and its choice of rows."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import reference
from zoo.objective.flow_grpo import FlowGRPO, clipped_surrogate
from zoo.rollout import Cond, Path, Rollout
from zoo.sampler.sde import FlowSDE
from zoo.seeds import Draws

NAN = float("nan")
GRID = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0], dtype=torch.float64)


def rollout(num_groups: int = 2, group_size: int = 3, broken: tuple[int, ...] = ()) -> Rollout:
    """Images whose latents name the image and the step; the last step has no log-probability."""
    num = num_groups * group_size
    x = torch.arange(num)[:, None] * 10.0 + torch.arange(5)
    log_prob = torch.arange(num)[:, None] + torch.tensor([0.1, 0.2, 0.3, NAN])
    for row in broken:
        x[row], log_prob[row] = 0.0, 0.0
    x = x.reshape(num, 5, 1, 1, 1).expand(num, 5, 1, 2, 2).contiguous()
    return Rollout(
        key=torch.arange(num),
        group=torch.arange(num_groups).repeat_interleave(group_size),
        path=Path(x[:, -1], 4, x, GRID, log_prob),
        cond=Cond({"image": torch.arange(num)}),
        grid=GRID,
    )


def draws(rollout: Rollout) -> Draws:
    return Draws(0, "rows", 0, rollout.key)


def advantage() -> Tensor:
    return torch.tensor([1.0, -1.0, 0.0, 2.0, 0.5, -2.5], dtype=torch.float64)


@pytest.mark.parametrize("clip_range", [1e-4, 0.2])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_the_surrogate_agrees_with_the_reference(dtype, tolerance, clip_range) -> None:
    generator = torch.Generator().manual_seed(0)
    new, old, a = torch.randn(3, 200, generator=generator, dtype=torch.float64).to(dtype)
    a = 4 * a
    a[:3] = 0.0
    found = clipped_surrogate(new, old, a, clip_range=clip_range, adv_clip=5.0)
    arrays = [reference.array(value) for value in (new, old, a)]
    wanted = reference.clipped_surrogate(*arrays, clip_range=clip_range)
    np.testing.assert_allclose(found, wanted, rtol=10 * tolerance, atol=tolerance)


def test_beyond_the_clip_there_is_a_gradient_back_only() -> None:
    log_prob = torch.tensor([0.5, 0.5, -0.5, -0.5], requires_grad=True)
    a = torch.tensor([1.0, -1.0, 1.0, -1.0])
    clipped_surrogate(log_prob, torch.zeros(4), a, clip_range=0.1).sum().backward()
    assert (log_prob.grad != 0).tolist() == [False, True, True, False]


def test_the_surrogate_of_nothing_is_nothing() -> None:
    none = torch.zeros(0)
    assert clipped_surrogate(none, none, none, clip_range=0.1).shape == (0,)


def test_each_image_is_trained_once_at_each_step_that_has_a_log_probability() -> None:
    made = rollout()
    rows = FlowGRPO(FlowSDE()).rows(made, advantage(), draws(made))
    assert len(rows.key) == 6 * 3
    assert rows.key.unique().tolist() == list(range(18))
    image = rows.unit
    assert torch.equal(rows.cond.tensors["image"], image)
    step = ((1 - rows.t) * 4).long()
    assert sorted(zip(image.tolist(), step.tolist(), strict=True)) == [
        (i, k) for i in range(6) for k in range(3)
    ]
    assert torch.equal(rows.x.rows()[:, 0, 0, 0], image * 10.0 + step)
    assert torch.equal(rows.reached.rows()[:, 0, 0, 0], image * 10.0 + step + 1)
    torch.testing.assert_close(rows.log_prob, image + 0.1 * (step + 1))
    torch.testing.assert_close(rows.s, rows.t - 0.25)
    torch.testing.assert_close(rows.advantage, advantage().float()[image])
    # The third image got just its group's mean: as published it is not trained on.
    assert torch.equal(rows.weight, (image != 2).float())


def test_trained_steps_chooses_so_many_of_each_image() -> None:
    made = rollout()
    rows = FlowGRPO(FlowSDE(), trained_steps=2).rows(made, advantage(), draws(made))
    assert len(rows.key) == 12
    assert len({*zip(rows.unit.tolist(), rows.t.tolist(), strict=True)}) == 12
    assert rows.key.tolist() == list(range(12))


def test_images_without_an_advantage_and_invalid_ones_get_weight_zero() -> None:
    made = rollout()
    a = torch.tensor([0.0, 0.0, NAN, 1.0, NAN, -1.0], dtype=torch.float64)
    rows = FlowGRPO(FlowSDE()).rows(made, a, draws(made))
    by_image = rows.weight.reshape(6, 3)
    assert by_image.tolist() == [[float(i in (3, 5))] * 3 for i in range(6)]
    assert not bool(rows.advantage.isnan().any())


def test_a_broken_image_does_not_make_the_last_step_trainable() -> None:
    made = rollout(broken=(1,))
    a = advantage()
    a[1] = NAN
    rows = FlowGRPO(FlowSDE()).rows(made, a, draws(made))
    assert len(rows.key) == 6 * 3
    assert not bool(rows.log_prob.isnan().any())


def test_more_trained_steps_than_there_are_is_refused() -> None:
    made = rollout()
    with pytest.raises(ValueError, match="trained_steps is 4, but only 3 steps"):
        FlowGRPO(FlowSDE(), trained_steps=4).rows(made, advantage(), draws(made))


def test_a_rollout_without_a_path_is_refused_with_the_fix() -> None:
    made = rollout()
    bare = Rollout(made.key, made.group, Path(made.path.clean, 4), made.cond, GRID)
    with pytest.raises(ValueError, match="flow_sde"):
        FlowGRPO(FlowSDE()).rows(bare, advantage(), draws(made))
