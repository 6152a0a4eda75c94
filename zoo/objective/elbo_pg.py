"""ELBO policy gradients: the likelihood is an ELBO at clean images, in three forms of the loss.

"Rethinking" (arXiv 2602.04663). The old weights collect with any solver; the ELBO of an image at a
time is less the squared error of the clean prediction. Their finding: that estimate and the
deterministic sampler explain most of the gain, the form of the loss little.

`pepg` and `par` have the same gradient. Departs from the published code: nothing is divided by the
guidance, since nothing is trained with it.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal, get_args

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor

from zoo.flow import clean_from, over_latent
from zoo.objective.base import Loss, Probe
from zoo.objective.clean import CleanObjective, CleanRows, Noised, needs_no_gradient
from zoo.objective.kl import KL, square_distance
from zoo.objective.old import OldSchedule
from zoo.objective.times import Times
from zoo.policy.base import Policy
from zoo.rollout import Rollout, Weights
from zoo.sampler.base import Latents, PerRow
from zoo.seeds import Draws

Weighting = Literal["adaptive", "uniform", "t", "exact"]
Method = Literal["epg", "pepg", "par", "epg_noratio", "pepg_noratio", "par_noratio"]


def elbo(
    v: Latents, x: Latents, x0: Latents, noise: Latents, t: PerRow, *, weighting: Weighting
) -> PerRow:
    """The log-likelihood estimate of each row, less a weighted squared error.

    With e the flow-matching error of the velocity: `uniform` -e, `t` -t^2 e, which is the error of
    the clean prediction, `exact` -(1 - t) / (t + 1e-3) e; `adaptive` divides the clean prediction's
    by its mean absolute size (at least 1e-5, without gradient, in float64).
    """
    if weighting == "adaptive":
        off = clean_from(x, v, t) - x0
        size = off.detach().double().abs().flatten(1).mean(1).clamp(min=1e-5)
        return -(off.square() / over_latent(size, off)).flatten(1).mean(1)
    error = square_distance(v, noise - x0)
    if weighting == "uniform":
        return -error
    if weighting == "t":
        return -t.square() * error
    if weighting == "exact":
        return -(1 - t) / (t + 1e-3) * error
    raise ValueError(f"weighting is one of {', '.join(get_args(Weighting))}, not {weighting!r}")


def elbo_policy_loss(elbo: PerRow, elbo_old: PerRow, adv: PerRow, *, method: Method) -> PerRow:
    """The loss of each row; `elbo` has the gradient.

    With d = elbo - elbo_old and the ratio exp(d), neither with gradient: `epg` -ratio adv elbo,
    `pepg` -ratio (adv - d) elbo, `par` ratio / 2 (adv - (elbo - elbo_old))^2, whose difference has
    one. The ratio of the forms `_noratio` is 1.
    """
    if method not in get_args(Method):
        raise ValueError(f"method is one of {', '.join(get_args(Method))}, not {method!r}")
    elbo_old = elbo_old.detach()
    d = elbo.detach() - elbo_old
    form, _, without = method.partition("_")
    ratio = torch.ones_like(d) if without else d.exp()
    if form == "epg":
        return -ratio * adv * elbo
    if form == "pepg":
        return -ratio * (adv - d) * elbo
    return 0.5 * ratio * (adv - (elbo - elbo_old)).square()


class ElboPG(CleanObjective[CleanRows]):
    """ELBO policy gradients (arXiv 2602.04663): any solver collects, an ELBO is the likelihood.

    Collects with the old weights, which follow live. As published with `advantage: {std: none}`:
    `adv_scale` times the reward less its group's mean. No guidance.
    """

    acts_with = Weights.OLD

    def __init__(
        self,
        *,
        method: Method = "epg",
        weighting: Weighting = "adaptive",
        adv_scale: Annotated[float, Gt(0)] = 0.1,
        adv_clip: Annotated[float, Gt(0)] = 5.0,
        kl: KL = KL(weight=1e-4),
        old: OldSchedule = OldSchedule(),
        trained_steps: Annotated[int, Ge(1)] | None = None,
        times: Times = Times(),
    ) -> None:
        """Hyper-parameters; the defaults are the published run's of 10 sampling steps.

        Args:
            method: the form of the loss, with the ratio to old or without.
            weighting: of the ELBO's error.
            adv_scale: what advantages are multiplied by: beta / alpha of the paper.
            adv_clip: advantages are clipped to this, before.
            kl: the distance to the reference, of velocities: Girsanov's.
            old: how the old weights follow live after each epoch.
            trained_steps: times of each image; none: all that `times` allows.
            times: which of the sampler's.
        """
        super().__init__(kl, old, trained_steps, times)
        self.method: Method = method
        self.weighting: Weighting = weighting
        self.adv_scale, self.adv_clip = adv_scale, adv_clip

    def rows(self, rollout: Rollout, advantage: Float[Tensor, " rows"], draws: Draws) -> CleanRows:
        """Each image at `trained_steps` times."""
        return self.at_its_times(rollout, advantage, draws)

    def loss(self, policy: Policy, rows: CleanRows, draws: Draws) -> Loss:
        """The loss of the method, and the distance to the reference."""
        at = rows.with_noise(draws)
        old = self._elbo(at.velocity(policy, Weights.OLD), at)
        live = at.velocity(policy)
        new = self._elbo(live, at)
        adv = self.adv_scale * rows.advantage.clamp(-self.adv_clip, self.adv_clip)
        per_row = elbo_policy_loss(new, old, adv, method=self.method)
        loss = Loss(per_row, {"elbo": new.detach(), "ratio": (new.detach() - old).exp()})
        return self.hold(loss, policy, at, partial(square_distance, live), rows, draws)

    def _elbo(self, v: Latents, at: Noised) -> PerRow:
        return elbo(v, at.x, at.clean, at.noise, at.t, weighting=self.weighting)

    def probes(self, policy: Policy, rows: CleanRows, draws: Draws) -> Sequence[Probe]:
        """Live is old: the ratio is 1, and at zero advantage there is no gradient."""
        at = rows.with_noise(draws)
        old = self._elbo(at.velocity(policy, Weights.OLD), at)
        with torch.no_grad():
            live = at.velocity(policy)

        def loss(v: Latents, adv: PerRow) -> PerRow:
            return elbo_policy_loss(self._elbo(v, at), old, adv, method=self.method)

        ratio = (self._elbo(live, at) - old).exp()
        furthest = float(ratio[(ratio - 1).abs().argmax()])
        on_policy = Probe("on-policy ratio", furthest, 1.0, 1e-3)
        return (on_policy, needs_no_gradient(live, rows.advantage, loss))
