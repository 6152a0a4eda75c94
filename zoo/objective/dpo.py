"""Diffusion-DPO on flow matching: best against worst, of images that are made or stored.

Wallace et al. 2023 (arXiv 2311.12908, eq. 14). The best and the worst images of each group make
pairs; both get the same noise and the same t, and live is asked to fit the winner better, relative
to the reference, than the loser. Times are logit-normal, then shifted as the policy's own grid is.
Offline it is the sampler `dataset` with the reward `preference` and ref_update 0.

The other forms of the loss: Linear-DPO (arXiv 2605.21123), SDPO and DMPO (Diffusion-SDPO), DSPO,
and MaPO, which has no reference.

Departs from the published online run: it collects with the reference and never moves it in its
shipped config; here live collects (`collect_with` changes that) and the reference is set to live
every `ref_update` updates (0: never). SDPO's scale is each pair's own, where its code takes one for
a micro-batch. MaPO is published for one latent's mean squared error, which here is the velocity's.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal, get_args

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Float
from torch import Tensor

from zoo.flow import over_latent
from zoo.objective.base import Loss, Probe
from zoo.objective.kl import square_distance, starts_at_reference
from zoo.objective.offline import OfflineObjective
from zoo.objective.pairs import Pair, PairRows, noised_pair, pair_rows
from zoo.policy.base import Policy
from zoo.rollout import Rollout, Weights
from zoo.sampler.base import Latents, PerRow
from zoo.seeds import Draws

DPORows = PairRows

Form = Literal["dpo", "linear", "sdpo", "dspo", "mapo", "dmpo"]

_STEPS = 1000
"""Of the processes that diffusion models are trained on: MaPO's margin is times that."""

_SLOPE = 0.2
"""Of Linear-DPO's line, of the published code."""


def dpo_logit(win: PerRow, lose: PerRow, *, beta: float) -> PerRow:
    """-beta / 2 (win - lose), each the error of live less that of the reference."""
    return -0.5 * beta * (win - lose)


def diffusion_dpo_loss(
    err_live_win: PerRow,
    err_ref_win: PerRow,
    err_live_lose: PerRow,
    err_ref_lose: PerRow,
    *,
    beta: float,
) -> PerRow:
    """-log sigmoid of `dpo_logit`."""
    win, lose = err_live_win - err_ref_win, err_live_lose - err_ref_lose
    return -F.logsigmoid(dpo_logit(win, lose, beta=beta))


def linear_dpo_loss(
    err_live_win: PerRow,
    err_ref_win: PerRow,
    err_live_lose: PerRow,
    err_ref_lose: PerRow,
    *,
    beta: float,
    eta: float,
) -> PerRow:
    """C (winner's error - loser's), c a straight line in place of DPO's sigmoid; without gradient.

    c = 0.2 beta D + 1/2 within [eta, 1 - eta], with D the difference of live's errors less that of
    the reference's. DPO's own factor beta / 2 is left out, as published.
    """
    difference = (err_live_win - err_live_lose) - (err_ref_win - err_ref_lose)
    c = (_SLOPE * beta * difference.detach() + 0.5).clamp(eta, 1 - eta)
    return c * (err_live_win - err_live_lose)


def loser_scale(error_win: Latents, error_lose: Latents, *, mu: float) -> PerRow:
    """SDPO's factor of the loser's gradient, in [0, 1], of each pair, without gradient.

    The errors are the predictions less their targets, to which the gradients g are proportional.
    (1 - mu) |g_win|^2 / (g_win . g_lose) where the two point the same way, else 1: so a step lowers
    the winner's error by at least mu of what it would alone.
    """
    win, lose = error_win.detach().flatten(1), error_lose.detach().flatten(1)
    along, size = (win * lose).sum(1), win.square().sum(1)
    scale = ((1 - mu) * size / torch.where(along > 0, along, 1.0)).clamp(0, 1)
    return torch.where(along > 0, scale, 1.0)


def dspo_loss(
    v: Latents, v_ref: Latents, target: Latents, *, beta: float, form: Literal["sd15", "sdxl"]
) -> Float[Tensor, " pairs"]:
    """DSPO's loss of each pair; the tensors hold all winners, then all losers.

    With u DPO's logit and d the winner's velocity less the reference's: `sd15` is the mean square
    of (velocity - target) - beta (1 - sigmoid(u)) d, on the winner; `sdxl` that of
    (1 - sigmoid(u)) d, or (1 - sigmoid(u))^2 alone where the batch's mean of d^2 is below 0.1. The
    sigmoid has a gradient, so the loser has one.
    """
    pairs = len(v) // 2
    off = square_distance(v, target) - square_distance(v_ref, target)
    u = dpo_logit(off[:pairs], off[pairs:], beta=beta)
    left, d = 1 - u.sigmoid(), (v - v_ref)[:pairs]
    if form == "sd15":
        off = (v - target)[:pairs] - beta * over_latent(left, d) * d
        return off.square().flatten(1).mean(1)
    if form != "sdxl":
        raise ValueError(f"form is 'sd15' or 'sdxl', not {form!r}")
    moved = d.square().flatten(1).mean(1)
    return left.square() * moved if float(moved.detach().mean()) >= 0.1 else left.square()


def mapo_loss(err_win: PerRow, err_lose: PerRow, *, beta: float, c: float, steps: int) -> PerRow:
    """The winner's error - beta log sigmoid(steps (o_win - o_lose)), o = c e / (exp(c e) - 1)."""

    def odds(error: PerRow) -> PerRow:
        return c * error / torch.expm1(c * error)

    return err_win - beta * F.logsigmoid(steps * (odds(err_win) - odds(err_lose)))


def dmpo_loss(logit: PerRow, *, alpha: float) -> PerRow:
    """The KL divergence of a coin of probability sigmoid(logit) to one of 1 - alpha."""
    p = logit.sigmoid()
    win = F.logsigmoid(logit) - math.log1p(-alpha)
    return p * win + (1 - p) * (F.logsigmoid(-logit) - math.log(alpha))


class DPO(OfflineObjective[PairRows]):
    """Diffusion-DPO (arXiv 2311.12908) on pairs of each group's best and worst images.

    A group whose rewards are all equal gives no pair: its rows have weight 0. Images may be
    collected with guidance; the loss has none. For offline pairs use the sampler `dataset`, the
    reward `preference` and ref_update 0.
    """

    images_per_row = 2
    needs_groups = True

    def __init__(
        self,
        *,
        form: Form = "dpo",
        beta: Annotated[float, Gt(0)] = 100.0,
        eta: Annotated[float, Ge(0), Le(0.5)] = 0.05,
        mu: Annotated[float, Ge(0), Le(1)] = 0.9,
        alpha: Annotated[float, Gt(0), Lt(1)] = 0.01,
        odds: Annotated[float, Gt(0)] = 0.5,
        ref_update: Annotated[int, Ge(0)] = 40,
        ref_decay: Annotated[float, Ge(0), Lt(1)] = 0.0,
        pairs_per_group: Annotated[int, Ge(1)] = 1,
        draws_per_pair: Annotated[int, Ge(1)] = 39,
        shift: Annotated[float, Gt(0)] | None = None,
        collect_with: Literal["live", "reference"] = "live",
    ) -> None:
        """Hyper-parameters; the defaults are the published online run's but for those named above.

        Args:
            form: of the loss: dpo; linear, a line in place of the sigmoid; sdpo, which spares the
                winner; dspo, score matching; dmpo, a divergence; mapo, without a reference.
            beta: strength of the preference; of dpo 100 online, 2000 to 5000 in offline papers; of
                linear 5000, dspo 0.001, dmpo 2000, mapo 0.1.
            eta: of linear, the least that a pair counts; published 0.05 for SD3.
            mu: of sdpo, the part of the winner's own step that is kept; 0.9 for SD1.5, 0.6 SDXL.
            alpha: of dmpo, how often the loser may be preferred.
            odds: of mapo, the factor of errors in its odds.
            ref_update: optimizer steps after which the reference follows live; 0 (offline): never;
                mapo without a reference that collects has none to move.
            ref_decay: how much of the reference stays then; linear has 0.99 and ref_update 1.
            pairs_per_group: best with worst, second best with second worst, and so on.
            draws_per_pair: draws of (noise, t) for each pair.
            shift: t = shift u / (1 + (shift - 1) u) of a logit-normal u; none: that of the policy's
                own grid, which for SD3 is 3, for FLUX grows with the resolution.
            collect_with: the weights that collect.
        """
        if form == "mapo" and ref_update and collect_with == "live":
            ref_update = 0  # there is no reference to move
        self.form: Form = form
        self.beta = beta
        self.eta, self.mu, self.alpha, self.odds = eta, mu, alpha, odds
        self.ref_update, self.ref_decay = ref_update, ref_decay
        self.pairs_per_group = pairs_per_group
        self.draws_per_pair = draws_per_pair
        self.shift = shift
        self.acts_with = Weights(collect_with)

    @property
    def uses(self) -> frozenset[Weights]:
        """The reference, but for mapo."""
        none = self.form == "mapo" and self.acts_with is Weights.LIVE
        return frozenset() if none else frozenset({Weights.REFERENCE})

    def rows(self, rollout: Rollout, advantage: Float[Tensor, " rows"], draws: Draws) -> PairRows:
        """Every pair of every group, `draws_per_pair` times."""
        return pair_rows(
            rollout, advantage,
            pairs_per_group=self.pairs_per_group, draws=self.draws_per_pair,
        )  # fmt: skip

    def loss(self, policy: Policy, rows: PairRows, draws: Draws) -> Loss:
        """The form's loss of each pair; winner and loser go through the network together."""
        pair = noised_pair(rows, self.times(policy, draws), draws)
        if self.form == "mapo":
            win, lose = pair.errors(pair.velocity(policy))
            per_row = mapo_loss(win, lose, beta=self.beta, c=self.odds, steps=_STEPS)
            return Loss(per_row, {"pair_accuracy": (win < lose).float().detach()})
        v_ref = pair.velocity(policy, Weights.REFERENCE)
        ref_win, ref_lose = pair.errors(v_ref)
        v = pair.velocity(policy)
        live_win, live_lose = pair.errors(v)
        per_row = self._loss(pair, v, v_ref, (live_win, ref_win, live_lose, ref_lose))
        margin = ((live_lose - ref_lose) - (live_win - ref_win)).detach()
        return Loss(per_row, {"margin": margin, "pair_accuracy": (margin > 0).float()})

    def _loss(
        self, pair: Pair, v: Latents, v_ref: Latents, errors: tuple[Tensor, Tensor, Tensor, Tensor]
    ) -> Float[Tensor, " pairs"]:
        """Of live's velocities and the reference's, and the errors of winners and losers."""
        if self.form == "dpo":
            return diffusion_dpo_loss(*errors, beta=self.beta)
        if self.form == "linear":
            return linear_dpo_loss(*errors, beta=self.beta, eta=self.eta)
        if self.form == "dspo":
            return dspo_loss(v, v_ref, pair.target, beta=self.beta, form="sd15")
        if self.form == "dmpo":
            live_win, ref_win, live_lose, ref_lose = errors
            u = dpo_logit(live_win - ref_win, live_lose - ref_lose, beta=self.beta)
            return dmpo_loss(u, alpha=self.alpha)
        if self.form != "sdpo":
            raise ValueError(f"form is one of {', '.join(get_args(Form))}, not {self.form!r}")
        win, lose = (v - pair.target).chunk(2)
        scale, live_lose = loser_scale(win, lose, mu=self.mu), errors[2]
        # Its value stays, its gradient is scaled.
        scaled = live_lose.detach() + scale * (live_lose - live_lose.detach())
        return diffusion_dpo_loss(errors[0], errors[1], scaled, errors[3], beta=self.beta)

    def probes(self, policy: Policy, rows: PairRows, draws: Draws) -> Sequence[Probe]:
        """Before any update live is the reference: dpo's loss is ln 2, and no pair has a margin.

        Not so where live starts from a LoRA and the reference, which never moves, is the base; and
        mapo has no reference.
        """
        differs = not starts_at_reference(policy) and not self.ref_update
        if self.form == "mapo" or differs:
            return ()
        with torch.no_grad():
            loss = self.loss(policy, rows, draws)
        if self.form in ("dpo", "sdpo"):
            furthest = float(loss.per_row[(loss.per_row - math.log(2)).abs().argmax()])
            return (Probe("loss at live == reference", furthest, math.log(2), 1e-3),)
        margin = float(loss.metrics["margin"].abs().max())
        return (Probe("margin at live == reference", margin, 0.0, 1e-5),)
