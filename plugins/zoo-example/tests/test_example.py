import torch
from zoo_example.ink import Ink
from zoo_example.midpoint import Midpoint

from zoo.seeds import Draws


def test_a_white_image_has_all_the_ink_and_a_black_one_none():
    images = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)])
    assert Ink().score(images, []).tolist() == [0.0, 1.0]


def test_midpoint_is_exact_on_a_velocity_linear_in_time():
    draws = Draws(0, "test", 0, torch.arange(2))
    x = torch.ones(2, 1, 2, 2, dtype=torch.float64)
    grid = torch.linspace(1, 0, 4, dtype=torch.float64)
    path = Midpoint().integrate(lambda x, t: torch.full_like(x, float(t)), x, grid, draws)
    torch.testing.assert_close(path.clean, x - 0.5)
    assert path.num_evals == 6
