"""SFT: which images count, and how much."""

import pytest
import torch

from zoo.errors import MisfitError
from zoo.objective.sft import SFT, sft_weights
from zoo.plan.geometry import StandIn
from zoo.rollout import Cond, Path, Rollout
from zoo.seeds import Draws

NAN = float("nan")


def rollout(group, reward) -> Rollout:
    num = len(group)
    clean = torch.arange(float(num)).reshape(num, 1)
    return Rollout(
        torch.arange(num), torch.tensor(group), Path(clean, 0), Cond({"i": torch.arange(num)}),
        reward=torch.tensor(reward).double(),
    )  # fmt: skip


MADE = rollout([0, 0, 0, 1, 1, 1], [0.5, 0.9, NAN, 0.2, 0.2, 0.1])
ADVANTAGE = torch.tensor([-0.2, 0.2, NAN, 0.1, 0.1, -0.2], dtype=torch.float64)


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("best_of_group", [0.0, 1.0, NAN, 1.0, 1.0, 0.0]),
        ("rwr", [0.5, 0.9, NAN, 0.2, 0.2, 0.1]),
        ("uniform", [1.0, 1.0, NAN, 1.0, 1.0, 1.0]),
    ],
)
def test_weights(how, wanted):
    found = sft_weights(MADE, ADVANTAGE, how=how)
    torch.testing.assert_close(found, torch.tensor(wanted).double(), equal_nan=True)


def test_of_equal_images_all_are_best():
    made = rollout([0, 0], [0.3, 0.3])
    found = sft_weights(made, torch.zeros(2).double(), how="best_of_group")
    assert found.tolist() == [1.0, 1.0]


def test_the_loss_is_the_weight_times_the_squared_error_of_the_velocity():
    policy = StandIn()
    policy.weights.allocate((), seed=0, reference=False)
    objective = SFT(weights="rwr", draws_per_image=2, shift=1.0)
    rows = objective.rows(MADE, ADVANTAGE, Draws(0, "rows", 0, MADE.key))
    assert rows.weight.reshape(6, 2)[:, 0].tolist() == [1.0, 1.0, 0.0, 1.0, 1.0, 1.0]
    draws = Draws(0, "loss", 0, rows.key)
    found = objective.loss(policy, rows, draws).per_row
    clean, noise = rows.clean.rows(), draws.normal((1,))
    t = draws.at("t").normal().sigmoid()[:, None]
    velocity = policy.velocity((1 - t) * clean + t * noise, t[:, 0], rows.cond)
    reward = MADE.reward.nan_to_num().float().repeat_interleave(2)
    torch.testing.assert_close(found, reward * (velocity - (noise - clean)).square()[:, 0])


def test_the_best_of_one_image_is_refused_and_one_alone_is_fine():
    made = rollout([0, 1], [0.3, 0.3])
    with pytest.raises(MisfitError, match=r"write weights: uniform, or data.group_size: 2"):
        sft_weights(made, torch.zeros(2).double(), how="best_of_group")
    assert sft_weights(made, torch.zeros(2).double(), how="uniform").tolist() == [1.0, 1.0]
