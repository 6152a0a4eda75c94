"""RAM's loss against its equation."""

import torch

from tests.objective.equations import latents, numbers, require_same
from zoo.objective.ram import ram_loss


def test_the_loss_and_its_gradient_are_those_of_the_equation():
    v, old, ref, x0, noise = latents(6, 5)
    adv = numbers(6)

    def equation(u):
        rows = []
        for i in range(6):
            target = ref[i] + 0.7 * adv[i] * ((noise[i] - x0[i]) - old[i])
            rows.append(((u[i] - target) ** 2).mean())
        return torch.stack(rows)

    require_same(lambda u: ram_loss(u, old, ref, x0, noise, adv, gain=0.7), equation, v)


def test_at_zero_advantage_the_target_is_the_reference():
    v, old, ref, x0, noise = latents(3, 5)
    adv = torch.zeros(3, dtype=torch.float64)
    found = ram_loss(ref, old, ref, x0, noise, adv, gain=1.0)
    assert found.tolist() == [0.0, 0.0, 0.0]
    assert float(ram_loss(v, old, ref, x0, noise, adv, gain=1.0).min()) > 0
