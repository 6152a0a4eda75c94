"""DiffusionNFT: online reinforcement learning on the forward process.

Zheng et al. 2025 (arXiv 2509.16117). Any solver collects, with the old weights; only clean latents
and rewards are kept. An implicit positive and an implicit negative policy, mixed from live and old
on either side of old, are both fitted to the clean latents by flow matching, in proportion to how
good the image was (eq. 5 to 8, algorithm 1).

Departs from the paper: it writes the plain velocity loss; the default here is the published code's
clean-latent form with adaptive weighting (`uniform` is the paper's). Prompts are never merged into
one group where a prompt comes twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, get_args

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor

from zoo.devices import send
from zoo.flow import Time, clean_from, noised, over_latent
from zoo.objective.base import Loss, Probe
from zoo.objective.clean import CleanObjective, needs_no_gradient
from zoo.objective.kl import KL, HeldRows, Point, square_distance
from zoo.objective.old import OldSchedule, old_decay
from zoo.objective.times import Times
from zoo.policy.base import Policy
from zoo.rollout import Lookup, Rollout, Weights, take
from zoo.sampler.base import Latents, PerRow
from zoo.seeds import Draws

__all__ = ["NFT", "NFTRows", "OldSchedule", "nft_loss", "old_decay", "optimality"]

Mode = Literal["all", "positive_only", "negative_only", "one_only", "binary"]
Weighting = Literal["adaptive", "uniform"]


def optimality(advantage: PerRow, *, clip: float = 5.0, mode: Mode = "all") -> PerRow:
    """The probability r in [0, 1] that an image is optimal: a / clip / 2 + 1/2, a within +-clip.

    `mode` changes the advantage first: `positive_only` and `negative_only` clamp at 0, `one_only`
    makes it 1 where positive and else 0, `binary` takes its sign. All are still divided by `clip`,
    as published.
    """
    a = advantage.clamp(-clip, clip)
    if mode == "positive_only":
        a = a.clamp(min=0)
    elif mode == "negative_only":
        a = a.clamp(max=0)
    elif mode == "one_only":
        a = (a > 0).to(a.dtype)
    elif mode == "binary":
        a = a.sign()
    elif mode != "all":
        raise ValueError(f"mode is one of {', '.join(get_args(Mode))}, not {mode!r}")
    return (a / clip / 2 + 0.5).clamp(0, 1)


def nft_loss(
    velocity: Latents,
    old_velocity: Latents,
    x: Latents,
    clean: Latents,
    t: Time,
    optimality: PerRow,
    *,
    beta: float,
    clip: float = 5.0,
    weighting: Weighting = "adaptive",
    negative_weight: float = 1.0,
) -> PerRow:
    """The policy loss of each row, with its factor clip / beta and without the KL term.

    `adaptive` compares clean predictions, each error divided by its own mean absolute size (at
    least 1e-5, without gradient, in float64); `uniform` compares velocities with (x - clean) / t,
    so t must be above 0. `negative_weight` is of the negative policy's term: 1, and 0 for the
    paper's ablation without it.
    """
    positive = (1 - beta) * old_velocity + beta * velocity
    negative = (1 + beta) * old_velocity - beta * velocity

    def error(implicit: Latents) -> PerRow:
        if weighting == "uniform":
            return square_distance(implicit, (x - clean) / over_latent(t, x))
        if weighting != "adaptive":
            raise ValueError(f"weighting is 'adaptive' or 'uniform', not {weighting!r}")
        off = clean_from(x, implicit, t) - clean
        size = off.detach().double().abs().flatten(1).mean(1).clamp(min=1e-5)
        return (off.square() / over_latent(size, off)).flatten(1).mean(1)

    loss = optimality * error(positive)
    if negative_weight:
        loss = loss + negative_weight * (1 - optimality) * error(negative)
    return clip / beta * loss


@dataclass(frozen=True)
class NFTRows(HeldRows):
    """A row is one image at one time."""

    clean: Lookup
    optimality: Float[Tensor, " rows"]


class NFT(CleanObjective[NFTRows]):
    """DiffusionNFT (arXiv 2509.16117): any solver collects, a contrastive flow loss learns.

    Collects with the old weights, which follow live slowly. Needs only clean images and rewards: no
    path, no log-probabilities, no guidance.
    """

    acts_with = Weights.OLD

    def __init__(
        self,
        *,
        beta: Annotated[float, Gt(0)] = 1.0,
        kl_weight: Annotated[float, Ge(0)] = 1e-4,
        kl: KL = KL(),
        adv_clip: Annotated[float, Gt(0)] = 5.0,
        mode: Mode = "all",
        weighting: Weighting = "adaptive",
        negative_weight: Annotated[float, Ge(0)] = 1.0,
        trained_steps: Annotated[int, Ge(1)] | None = None,
        times: Times = Times(),
        old: OldSchedule = OldSchedule(),
    ) -> None:
        """Hyper-parameters of the paper.

        Args:
            beta: how far the implicit policies lie from old; published 1.0, and 0.1 for OCR and
                several rewards.
            kl_weight: weight of the squared velocity distance to the reference; 0 skips it.
            kl: what else there is to say of that; its `weight`, where written, is the one.
            adv_clip: the advantage that counts as certain.
            mode: what of the advantage is used.
            weighting: the published code's adaptive loss or the paper's plain one.
            negative_weight: of the negative policy's term; 0 leaves it out, as the paper's ablation
                does, and what remains is regression on the collected images, weighted by reward.
            trained_steps: of the sampler's times, how many are trained at for each image; none: 99%
                of those of `times`, rounded down, as published.
            times: which of the sampler's; all as published.
            old: the schedule of the old weights.
        """
        super().__init__(kl, old, trained_steps, times, kl_weight)
        self.beta = beta
        self.adv_clip = adv_clip
        self.mode: Mode = mode
        self.weighting: Weighting = weighting
        self.negative_weight = negative_weight

    def rows(self, rollout: Rollout, advantage: Float[Tensor, " rows"], draws: Draws) -> NFTRows:
        """Each image at `trained_steps` of the sampler's own times, in an order of its own."""
        trained = self.trained_steps
        if trained is None:
            trained = max(1, int(0.99 * self.times.num(rollout)))
        t = self.times.choose(rollout, trained, draws)
        image = torch.arange(len(t)).repeat_interleave(trained)
        valid = ~advantage.isnan()
        good = optimality(advantage.nan_to_num(), clip=self.adv_clip, mode=self.mode).float()
        device = rollout.path.clean.device
        return NFTRows(
            key=(rollout.key[:, None] * trained + torch.arange(trained)).flatten(),
            unit=rollout.key[image],
            weight=valid.float()[image] * self.times.weights(rollout, trained).repeat(len(t)),
            clean=Lookup(rollout.path.clean, send(image, device)),
            cond=take(rollout.cond, image),
            t=send(t.flatten(), device),
            optimality=send(good[image], device),
            gate=None if rollout.gate is None else send(rollout.gate.float()[image], device),
        )

    def loss(self, policy: Policy, rows: NFTRows, draws: Draws) -> Loss:
        """The policy loss, plus the KL term where it has weight."""
        clean, at = _noised(rows, draws)
        old, live = at.velocity(policy, Weights.OLD), at.velocity(policy)
        per_row = nft_loss(
            live, old, at.x, clean, rows.t, rows.optimality,
            beta=self.beta, clip=self.adv_clip, weighting=self.weighting,
            negative_weight=self.negative_weight,
        )  # fmt: skip
        loss = Loss(per_row, {"old_gap": square_distance(live.detach(), old)})
        return self.hold(loss, policy, at, partial(square_distance, live), rows, draws)

    def doubts(self, metrics: Mapping[str, float], before: int, after: int) -> Sequence[str]:
        """Old must lag behind live: after the first step of an epoch, and where it keeps of itself.

        Where it does not, the loss is regression on the images, weighted by reward.
        """
        lags = before > 0 and self.old.at(before) > 0
        if metrics.get("old_gap") != 0 or not (lags or after - before > 1):
            return ()
        return (
            "old_gap was exactly 0 throughout an epoch in which live had left old: the two are one "
            "set of weights, and what is left of nft is regression weighted by reward; does the "
            "policy switch sets where weights.using asks for one, and does optim.lr move live?",
        )

    def probes(self, policy: Policy, rows: NFTRows, draws: Draws) -> Sequence[Probe]:
        """At zero advantage, where live and old are equal, there is no gradient.

        That of the live velocity, as a part of the gradient at full advantage. It holds where both
        terms weigh the same: there is none to measure elsewhere.
        """
        if self.negative_weight != 1:
            return ()
        clean, at = _noised(rows, draws)
        with torch.no_grad():
            old, live = at.velocity(policy, Weights.OLD), at.velocity(policy)

        def loss(v: Latents, adv: PerRow) -> PerRow:
            # Full advantage is 1 here: an optimality of 1.
            return nft_loss(
                v, old, at.x, clean, rows.t, 0.5 + 0.5 * adv,
                beta=self.beta, clip=self.adv_clip, weighting=self.weighting,
            )  # fmt: skip

        return (needs_no_gradient(live, rows.optimality, loss),)


def _noised(rows: NFTRows, draws: Draws) -> tuple[Latents, Point]:
    """The clean latents, and where they are with noise."""
    clean = rows.clean.rows()
    x = noised(clean, draws.normal(tuple(clean.shape[1:])), rows.t)
    return clean, Point(x, rows.t, rows.cond)
