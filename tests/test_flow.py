"""The time convention against the reference."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import reference
from zoo import flow

SHAPES = [(5,), (5, 3), (5, 4, 2, 3), (5, 2, 3, 4, 2)]
DTYPES = [(torch.float64, 1e-12), (torch.float32, 1e-6)]
TIMES = {
    "a row each": torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64),
    "0-dim": torch.tensor(0.3, dtype=torch.float64),
    "float32": torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]),
    "python": 0.7,
    "data": 0.0,
    "noise": 1.0,
}


def pair(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(len(shape))
    first, second = torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    return first.to(dtype), second.to(dtype)


@pytest.mark.parametrize("t", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["noised", "clean_from", "noise_from"])
def test_functions_of_time_agree_with_the_reference(name, shape, dtype, tolerance, t) -> None:
    first, second = pair(shape, dtype)
    found = getattr(flow, name)(first, second, t)
    wanted = getattr(reference, name)(reference.array(first), reference.array(second), t)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", SHAPES)
def test_velocity_target_agrees_with_the_reference(shape) -> None:
    clean, noise = pair(shape, torch.float64)
    wanted = reference.velocity_target(reference.array(clean), reference.array(noise))
    np.testing.assert_array_equal(flow.velocity_target(clean, noise), wanted)


@pytest.mark.parametrize("t", TIMES.values(), ids=TIMES)
def test_the_true_velocity_points_back_to_both_ends(t) -> None:
    clean, noise = pair((5, 4, 2, 3), torch.float64)
    x, v = flow.noised(clean, noise, t), flow.velocity_target(clean, noise)
    torch.testing.assert_close(flow.clean_from(x, v, t), clean)
    torch.testing.assert_close(flow.noise_from(x, v, t), noise)


def test_the_ends_of_the_path_are_exact() -> None:
    clean, noise = pair((5, 3), torch.float32)
    assert torch.equal(flow.noised(clean, noise, 0.0), clean)
    assert torch.equal(flow.noised(clean, noise, 1.0), noise)


def test_no_rows_give_no_rows() -> None:
    none = torch.zeros(0, 4, 2, 2)
    assert flow.noised(none, none, torch.zeros(0)).shape == none.shape
    assert flow.clean_from(none, none, 0.5).shape == none.shape


def test_gradients_reach_the_velocity() -> None:
    x, v = pair((5, 3), torch.float64)
    v.requires_grad_()
    t = torch.tensor([0.0, 0.1, 0.2, 0.5, 1.0], dtype=torch.float64)
    flow.clean_from(x, v, t).sum().backward()
    torch.testing.assert_close(v.grad, -t[:, None].expand(5, 3))


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0, 6.7])
@pytest.mark.parametrize("end", [1 / 5, 0.003])
def test_the_shift_of_a_grid_is_found_wherever_its_even_steps_end(shift, end) -> None:
    even = torch.linspace(1, end, 5, dtype=torch.float64)
    grid = torch.cat([flow.shifted(even, shift), torch.zeros(1, dtype=torch.float64)])
    assert flow.shift_of(grid) == pytest.approx(shift)
    torch.testing.assert_close(flow.shifted(flow.shifted(even, shift), 1 / shift), even)


@pytest.mark.parametrize("power", [0.5, 2.0, 6.0])
def test_a_grid_that_is_no_shifted_one_has_no_shift(power) -> None:
    assert flow.shift_of(torch.linspace(1, 0, 6, dtype=torch.float64) ** power) is None
    assert flow.shift_of(0.9 * torch.linspace(1, 0, 6, dtype=torch.float64)) is None
