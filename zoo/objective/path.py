"""What objectives on paths share: their rows, the transition of each, the distance to a reference.

Such an objective keeps the steps of a stochastic solver with their log-probabilities, and evaluates
the same transitions again as live would take them.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.devices import send
from zoo.errors import MisfitError
from zoo.flow import over_latent
from zoo.objective.base import Loss, Probe
from zoo.objective.kl import KL, HeldObjective, HeldRows, Point, square_distance
from zoo.policy.base import Policy
from zoo.rollout import Lookup, Rollout, shared, take
from zoo.sampler.base import Gaussian, Latents, PerRow, StochasticSolver
from zoo.seeds import Draws

TimeWeights = Literal["even", "tempflow"]

_TEMPFLOW = 2.25
"""Of the published code of TempFlow-GRPO (arXiv 2508.04324), which mixes up the rows of a batch
whose times differ; here a row has its own step's weight."""


_ROUNDED = 0.01
"""What bfloat16 may do to a ratio; a sampler and an objective that disagree do more.

Measured is 0.0007, where every number of a velocity is moved by its last bit, see the docs.
"""


@dataclass(frozen=True)
class PathRows(HeldRows):
    """A row is one step of one image's path, from x at t to `reached` at s.

    `log_prob` and `mean` are the step's at collection, the latter where an objective asks for it;
    or what live said of it before the first update, and NaN for the rows of that.
    """

    x: Lookup
    reached: Lookup
    mean: Lookup | None
    s: Float[Tensor, " rows"]
    log_prob: Float[Tensor, " rows"]
    advantage: Float[Tensor, " rows"]
    grid: Float[Tensor, " num_points"] = shared()


@dataclass(frozen=True)
class Transitions:
    """Steps as live would take them now, and as they were at collection.

    `std`, their deviation, has not changed: numbers a row, which may have the latents' axes, or for
    all rows.
    """

    log_prob: PerRow
    old_log_prob: PerRow
    mean: Latents
    old_mean: Latents
    std: Float[Tensor, "..."]

    @property
    def std_of_row(self) -> PerRow:
        """The deviation as a number a row."""
        return by_row(self.std, len(self.mean))

    @property
    def divergence(self) -> PerRow:
        """By how much each has moved: of two Gaussians of one deviation, the mean over axes."""
        return square_distance(self.mean, self.old_mean) / (2 * self.std_of_row.square())


class PathObjective(HeldObjective[PathRows]):
    """An objective on the steps of a stochastic solver: it has a `surrogate` of their densities.

    Images of advantage exactly 0 carry no signal and get weight 0, as Flow-GRPO published it.
    """

    needs_path = True
    trains_guided = True

    compares_means: ClassVar[bool] = False
    """Whether the surrogate asks how far a step's mean has moved."""

    def __init__(
        self,
        solver: StochasticSolver,
        kl: KL,
        kl_weight: float = 0.0,
        *,
        trained_steps: int | None,
        time_weights: TimeWeights,
        recompute_old: bool = False,
    ) -> None:
        """See the options of `FlowGRPO`."""
        super().__init__(kl, kl_weight)
        self.solver = solver
        self.trained_steps = trained_steps
        self.time_weights: TimeWeights = time_weights
        self.recalls = recompute_old
        self.needs_means = self.compares_means and not recompute_old

    @abstractmethod
    def surrogate(self, gaussian: Gaussian, log_prob: PerRow, rows: PathRows) -> Loss:
        """The loss of some steps whose transitions under live are `gaussian`."""

    def rows(self, rollout: Rollout, advantage: Float[Tensor, " rows"], draws: Draws) -> PathRows:
        """Each image at its steps that have a log-probability, or at `trained_steps` of them."""
        path = rollout.path
        if path.x is None or path.log_prob is None or path.grid is None:
            raise ValueError(
                "the objective needs the path of a stochastic solver; "
                "use sampler.solver: {name: flow_sde}"
            )
        # A broken image is zeroed and so has no NaN; what has no density for one has it for none.
        steps = self.solver.has_density(path.grid, draws).nonzero()[:, 0]
        trained = len(steps) if self.trained_steps is None else self.trained_steps
        if trained > len(steps):
            raise MisfitError(
                ("objective", "trained_steps"),
                f"trained_steps is {trained}, but only {len(steps)} steps have a log-probability",
            )
        step = steps[draws.permutation(len(steps))[:, :trained].cpu()].flatten()
        image = torch.arange(len(rollout.key)).repeat_interleave(trained)
        device = path.clean.device
        num_points, points = path.x.shape[1], path.x.flatten(0, 1)
        at = send(image * num_points + step, device)
        there = send(step, device)
        weight = (advantage.nan_to_num() != 0).float()
        grid = send(path.grid, device, torch.float32)
        return PathRows(
            key=(rollout.key[:, None] * trained + torch.arange(trained)).flatten(),
            unit=rollout.key[image],
            weight=weight[image],
            x=Lookup(points, at),
            reached=Lookup(points, at + 1),
            mean=self._means(rollout, send(image * (num_points - 1) + step, device)),
            cond=take(rollout.cond, image),
            t=grid[there],
            s=grid[there + 1],
            log_prob=path.log_prob[send(image, device), there],
            advantage=send(advantage.nan_to_num().float()[image], device),
            gate=None if rollout.gate is None else send(rollout.gate.float()[image], device),
            grid=grid,
        )

    def _means(self, rollout: Rollout, at: Tensor) -> Lookup | None:
        if not self.needs_means:
            return None
        if rollout.path.mean is None:
            raise ValueError("the objective needs the means of the path's steps, which has none")
        return Lookup(rollout.path.mean.flatten(0, 1), at)

    def loss(self, policy: Policy, rows: PathRows, draws: Draws) -> Loss:
        """The surrogate, weighted by time, and the distance of the transitions' means.

        That is divided by 2 sigma_t^2, as the published code does.
        """
        x, t, s = rows.x.rows(), rows.t, rows.s
        gaussian = self._transition(policy.velocity(x, t, rows.cond), x, rows)
        loss = self.surrogate(gaussian, gaussian.log_prob(rows.reached.rows()), rows)
        if self.time_weights == "tempflow":
            weight = _TEMPFLOW * by_row(gaussian.std, len(x))
            loss = Loss(weight * loss.per_row, loss.metrics)

        def distance(velocity: Latents) -> PerRow:
            reference = self._transition(velocity, x, rows)
            # std is sigma_t sqrt(t - s), so this is the published 2 sigma_t^2 for any solver.
            sigma_squared = gaussian.std.square() / over_latent(t - s, x)
            off = (gaussian.mean - reference.mean).square() / (2 * sigma_squared)
            return off.flatten(1).mean(1)

        return self.hold(loss, policy, Point(x, t, rows.cond), distance, rows, draws)

    def recall(self, policy: Policy, rows: PathRows, draws: Draws) -> Float[Tensor, "rows ..."]:
        """The log-probabilities of the rows' steps, as `loss` finds them, and their means."""
        x = rows.x.rows()
        gaussian = self._transition(policy.velocity(x, rows.t, rows.cond), x, rows)
        log_prob = gaussian.log_prob(rows.reached.rows())
        if not self.compares_means:
            return log_prob
        return torch.cat([log_prob[:, None], gaussian.mean.flatten(1)], dim=1)

    def remember(self, rows: PathRows, recalled: Float[Tensor, "rows ..."]) -> PathRows:
        """With those as the old ones."""
        found = send(recalled.float(), rows.log_prob.device)
        if found.ndim == 1:
            return replace(rows, log_prob=found)
        means = found[:, 1:].reshape(-1, *rows.x.table.shape[1:])
        mean = Lookup(means, torch.arange(len(means), device=means.device))
        return replace(rows, log_prob=found[:, 0], mean=mean)

    def transitions(self, gaussian: Gaussian, log_prob: PerRow, rows: PathRows) -> Transitions:
        """Of an objective that compares means: live's now, and those before any update."""
        old_log_prob = self.old_log_prob(log_prob, rows)
        mean, old_mean = gaussian.mean, self._old_mean(gaussian.mean, rows)
        return Transitions(log_prob, old_log_prob, mean, old_mean, gaussian.std)

    def old_log_prob(self, log_prob: PerRow, rows: PathRows) -> PerRow:
        """What `log_prob`, live's now, was before any update."""
        old = rows.log_prob
        # Rows of the first update: live has not moved since.
        return torch.where(old.isnan(), log_prob.detach(), old) if self.recalls else old

    def _old_mean(self, mean: Latents, rows: PathRows) -> Latents:
        if rows.mean is None:
            assert self.recalls
            return mean.detach()
        old: Latents = rows.mean.rows()
        return torch.where(old.isnan(), mean.detach(), old) if self.recalls else old

    def _transition(self, velocity: Latents, x: Latents, rows: PathRows) -> Gaussian:
        return self.solver.transition(velocity, x, rows.t, rows.s, rows.grid)

    def ratio_probe(
        self, policy: Policy, rows: PathRows, draws: Draws, tolerance: float
    ) -> Sequence[Probe]:
        """Before any update the model that trains is the model that collected: the ratio is 1.

        Where old ones are computed again, but for rounding.
        """
        tolerance = _ROUNDED if self.recalls else tolerance
        # With gradients, as it trains: layers of LoRA then go another way.
        ratio = self.loss(policy, rows, draws).metrics["ratio"].detach()
        furthest = float(ratio[(ratio - 1).abs().argmax()])
        return (Probe("on-policy ratio", furthest, 1.0, tolerance),)


def by_row(value: Float[Tensor, "..."], rows: int) -> PerRow:
    """What is the same over a row's latent axes, or for all rows, as a number a row."""
    return value.expand(rows) if value.ndim == 0 else value.reshape(rows, -1)[:, 0]
