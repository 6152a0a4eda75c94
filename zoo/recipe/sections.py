"""The sections of a recipe; docstrings and defaults are their documentation.

Every section is frozen and strict. A component (policy, sampler, ...) is validated against its own
constructor: see `constructor_schema`.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, cast

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import AfterValidator, ConfigDict, Field

from zoo.recipe.component import Component, Named, Strict
from zoo.recipe.constructor_schema import Slot, component_class
from zoo.recipe.data_section import Count, Text
from zoo.recipe.errors import Loc
from zoo.reward.base import Reward
from zoo.reward.frames import How, OnFrames
from zoo.sampler.base import Solver, Steps
from zoo.storage.place import Place
from zoo.tracker.base import ExperimentTracker

Seconds = Annotated[float, Gt(0)]


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(
            f"{name!r} cannot name a run's folder; use up to 100 letters, digits, '.', '_' and "
            "'-', the first a letter or digit"
        )
    return name


FolderName = Annotated[str, AfterValidator(_folder_name)]


def default(data: dict[str, Any]) -> Any:
    """A default as a recipe would write it, validated where it is used."""
    return Field(default_factory=lambda: data, validate_default=True)


class Isolation(Strict):
    """A reward in another Python: `python` is its interpreter, as `zoo env create` prints it.

    `start_timeout` is how many seconds it has to load its model.
    """

    python: Place
    start_timeout: Seconds = 300.0


class FrameSample(Strict):
    """So many frames of a video, evenly spaced from the first to the last, and their mean score."""

    sample: Count


class Weighted(Named):
    """What a recipe says of a reward besides its options.

    `frames` has a reward of images look at videos: the mean over all frames, one of them, the worst
    of all, or the mean over a sample. `weight` 0 is for what `advantage` names and nothing trains
    on. `rank` takes an image's rank in its group, from 0 for the worst to 1 for the best, in place
    of its score.
    """

    weight: float = 1.0
    rank: bool = False
    label: Text | None = None
    frames: How | FrameSample | None = None
    isolate: Isolation | None = None


class _Placed(Strict):
    """Where a reward is, whatever its options are."""

    model_config = ConfigDict(extra="ignore")

    isolate: Isolation | None = None


def reward_class(name: str, raw: Mapping[str, Any]) -> type[Any]:
    """The class of a reward: installed here, or in the Python that the recipe says."""
    isolate = _Placed.model_validate_json(json.dumps(raw)).isolate
    if isolate is None:
        return component_class("rewards", name)
    from zoo.recipe.isolated import isolated_class

    return isolated_class(isolate.python, name)


class RewardEntry(Component[Reward]):
    """A reward with its weight in the sum, and the name of its metrics."""

    @property
    def weight(self) -> float:
        """Its factor in the weighted sum; negative to train against it."""
        return cast(Weighted, self.settings).weight

    @property
    def label(self) -> str:
        """What its metrics are called: by default its name."""
        return cast(Weighted, self.settings).label or self.name.rpartition(":")[2]

    @property
    def rank(self) -> bool:
        """Whether its order within a group is trained on, and not by how much scores differ."""
        return cast(Weighted, self.settings).rank

    @property
    def frames(self) -> How | FrameSample | None:
        """Which frames of videos it looks at, where it is one of images."""
        return cast(Weighted, self.settings).frames

    @property
    def made_from(self) -> tuple[type[Reward], str]:
        """The same for entries that build the same reward, whatever their weights and labels."""
        options = {k: v for k, v in self.dump().items() if k not in ("weight", "label", "rank")}
        return self.cls, json.dumps(options, sort_keys=True)

    @property
    def measures(self) -> tuple[object, ...]:
        """The same for entries that score the same thing, however they are run."""
        chosen = (self.options[key] for key in self.cls.chosen_by)
        return (self.name.rpartition(":")[2], *chosen)

    def build(self, given: Mapping[str, object], loc: Loc = ()) -> Reward:
        """Constructs it; one in another Python is started there."""
        own = cast(Weighted, self.settings)
        reward = super().build({**given, "isolation": own.isolate}, loc)
        if isinstance(own.frames, FrameSample):
            return OnFrames(reward, "mean", sample=own.frames.sample)
        return reward if own.frames is None else OnFrames(reward, own.frames)


Rewards = tuple[Annotated[RewardEntry, Slot(Reward, base=Weighted, find=reward_class)], ...]


class Ban(Strict):
    """Groups to learn nothing from: rewards all alike, or good already (Edit-R1: 0.05 and 0.9)."""

    std_at_most: Annotated[float, Ge(0)] | None = None
    mean_at_least: float | None = None


class Gate(Strict):
    """Which images the reference holds, for objectives whose `kl` is on: gated (GARDO: 0.1 of all).

    Those of which the trained reward thinks best, compared with the `rewards`: labels of rewards of
    weight 0.
    """

    rewards: Annotated[tuple[Text, ...], MinLen(1)]
    share: Annotated[float, Gt(0), Le(1)] = 0.1


class Advantage(Strict):
    """How rewards become advantages: see `zoo.advantage`. The `ban` is by the mixed reward.

    `std` none divides by nothing. `diversity` is the label of a reward of weight 0, an image's
    distance to the nearest of its group: it scales the advantages of images above their mean.
    """

    std: Literal["global", "group", "none"] = "global"
    mix: Literal["sum", "gdpo"] = "sum"
    ban: Ban | None = None
    diversity: Text | None = None
    gate: Gate | None = None


class Ema(Strict):
    """An average of the live weights, for evaluation. `cap` is the most it keeps of itself."""

    cap: Annotated[float, Gt(0), Lt(1)] = 0.9


class Optim(Strict):
    """AdamW. `warmup` and `total` count updates of the whole run.

    At `total` a schedule that falls comes to 0; by default where the run ends.
    """

    lr: Annotated[float, Gt(0)] = 3e-4
    betas: tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]] = (0.9, 0.999)
    eps: Annotated[float, Gt(0)] = 1e-8
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: Annotated[int, Ge(0)] = 0
    total: Count | None = None
    updates_per_epoch: Count = 1
    max_grad_norm: Annotated[float, Gt(0)] = 1.0
    ema: Ema | None = None


class Sizes(NamedTuple):
    """Images that go through the network together, as numbers."""

    sample: int
    train: int


class MicroBatchSizes(Strict):
    """Images that go through the network together, to make them and to train on them.

    `auto` is the most that fits into the memory, found when a run starts: see `zoo.plan.fit`. None
    changes the result but in the last digits. Until it is found, and for images of a recipe that is
    not trained, it counts as the default.
    """

    sample: Count | Literal["auto"] = 16
    train: Count | Literal["auto"] = 8

    @property
    def sizes(self) -> Sizes:
        """What is written, or the default where that is to be found."""
        usual = {name: field.default for name, field in MicroBatchSizes.model_fields.items()}
        written = {name: getattr(self, name) for name in usual}
        return Sizes(**usual | {name: n for name, n in written.items() if n != "auto"})

    @property
    def is_auto(self) -> bool:
        """Whether one is to be found."""
        return "auto" in (self.sample, self.train)


class EngineOptions(Strict):
    """Where it runs, and what several processes share.

    `device` auto is the accelerator that torch finds (CUDA, ROCm, XPU, NPU), and else the CPU.
    `zero_stage` trains with DeepSpeed ZeRO: at 1 the optimizer's state is in pieces on the
    processes, at 2 gradients too, at 3 parameters too; without a stage every process has all.
    `offload` keeps the optimizer's state, or it and the parameters, in the host's memory.
    `gradient_checkpointing` computes activations again for the backward pass: much less memory for
    a forward more. `compile` has torch compile the network's repeated blocks. `deterministic` takes
    kernels that give the same numbers every time, which on CUDA are slower, and raises where an
    operation has none.
    `deepspeed` takes DeepSpeed's own options. `timeout` is how many seconds to wait for other
    processes to come, and for a sign of life from them.
    """

    processes: Count | Literal["auto"] = 1
    zero_stage: Annotated[int, Ge(0), Le(3)] | None = None
    offload: Literal["none", "optimizer", "parameters"] = "none"
    deepspeed: dict[str, Any] = Field(default_factory=dict)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count | Literal["auto"] = "auto"
    micro_batch: MicroBatchSizes = MicroBatchSizes()
    gradient_checkpointing: bool = False
    compile: bool = False
    deterministic: bool = False
    timeout: Seconds = 600.0


class EvalOptions(Strict):
    """Measures held-out prompts; without rewards of its own, by the training rewards.

    Rewards that are not trained on are held out: their sum, with their weights, says which
    checkpoint is best. `fps` is how fast videos are shown, in frames a second: 16 is Wan's own.
    `resolution` and `frames` are those of the policy, which images that are trained on have; here
    of others, for policies that can be asked for them. With `drift` full fine-tuning keeps a copy
    of the base model where its objective needs none, to say how far it has gone from it.
    """

    every: Count = 10
    steps: Steps = 40
    solver: Annotated[Component[Solver], Slot(Solver)] = default({"name": "euler"})
    guidance: Annotated[float, Ge(0)] = 1.0
    images_per_prompt: Count = 4
    resolution: Count | tuple[Count, Count] | None = None
    frames: Count | None = None
    fps: Annotated[float, Gt(0), Le(1000)] = 16.0
    drift: bool = False
    rewards: Rewards = ()

    @property
    def size(self) -> dict[str, Any]:
        """What it says of how large images are, as options of a policy."""
        own = {"resolution": self.resolution, "frames": self.frames}
        return {key: value for key, value in own.items() if value is not None}


class Scoring(Strict):
    """How long and how often a reward may try, and what share of a batch may stay unscored."""

    timeout: Seconds = 300.0
    retries: Annotated[int, Ge(0)] = 2
    max_invalid: Annotated[float, Ge(0), Le(1)] = 0.1


class CheckpointOptions(Strict):
    """How often a run is saved, in epochs, and how many checkpoints are kept.

    `best` also saves, and keeps, the one whose evaluation has the best held-out score so far.
    """

    every: Count = 10
    keep: Count = 3
    best: bool = True


class ScoreTarget(Strict):
    """A score of the evaluation, by its reward's label, that is enough."""

    label: Text
    at_least: float


class StopWhen(Strict):
    """Ends a run before its epochs are done; the first condition that holds does.

    `target` is reached, `drift` (the change of the velocity from the base model's, as a part of it)
    is above the bound, the held-out score has been `falling` (below its best by more than the
    standard error) for so many evaluations in a row; or the run has taken so many `seconds` of
    collecting and learning, network `forwards` on images, or collected `images`.
    """

    target: ScoreTarget | None = None
    drift: Annotated[float, Gt(0)] | None = None
    falling: Count | None = None
    seconds: Seconds | None = None
    forwards: Count | None = None
    images: Count | None = None


Trackers = tuple[Annotated[Component[ExperimentTracker], Slot(ExperimentTracker)], ...]
