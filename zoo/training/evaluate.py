"""Evaluation: prompts, the same noise every time, every reward, what images are like; a picture."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from zoo.devices import send
from zoo.run import pictures
from zoo.run.moving import Picture
from zoo.training.asked import Asked
from zoo.training.collect import Collector, Groups, Shard, collect, shard_groups
from zoo.training.drift import Base, measure_drift
from zoo.training.generate import Batch
from zoo.training.standard_errors import Summary, metrics, summaries

_SHOWN_PROMPTS, _SHOWN_IMAGES = 10, 4
_WHOLE_PROMPTS = 3
"""Of which a video is kept at its own size: each is megabytes."""

EVALUATION = "evaluate"
"""The purpose of its draws: the noise is the same every time, and another than training's."""


@dataclass(frozen=True)
class Evaluator:
    """What an evaluation needs: who makes and scores which images, and what drift is from."""

    collector: Collector
    groups: Groups
    base: Base | None = None

    def shard(self) -> Shard:
        """This process's share of the images."""
        return shard_groups(self.collector, self.groups)


@dataclass(frozen=True)
class EvaluationResult:
    """Every image's scores and extras in the order of keys, what they come to, and a picture.

    The key of image i of prompt p is p * images_per_prompt + i. `shown` has a column a prompt.
    `monitor` has the values of `ImageNumbers`, and `drift` where there is a base to compare with;
    `deviations` are theirs; `asked` says by label which images the reward was to score.
    `shape` is an image's: [*frames, 3, height, width]. `whole` are the first video of the first
    prompts at their own size, by prompt, where `shown` has them smaller.
    """

    scores: dict[str, Float[Tensor, " images"]]
    summaries: dict[str, Summary]
    monitor: dict[str, float]
    deviations: dict[str, float]
    shown: UInt8[Tensor, "tiles *frames 3 height width"]
    columns: int
    asked: Asked
    shape: tuple[int, ...]
    whole: dict[int, UInt8[Tensor, "num_frames 3 tall wide"]]
    failures: tuple[str, ...] = ()
    num_broken: int = 0

    @property
    def metrics(self) -> dict[str, float]:
        """`eval/<label>`: means over valid images; with tags also of each, and over the tags."""
        return {f"eval/{name}": value for name, value in metrics(self.summaries).items()}

    def picture(self, fps: float) -> Picture:
        """The first images of the first prompts; videos have so many frames a second."""
        return pictures.sheet(self.shown, self.columns, fps)


def evaluate(share: Shard, batches: Iterable[Batch], base: Base | None = None) -> EvaluationResult:
    """Scores the images of `share.generate()`; `batches` are these, or a generator around them.

    The drift is from `base`, where there is one.

    Raises:
        RewardError: a reward breaks its contract on any process.
    """
    sheet = _Sheet(share)
    collected = collect(share, sheet.watch(batches))
    scores = {**collected.verdict.scores, **collected.verdict.extras}
    monitor = dict(collected.stats.values)
    if base is not None:
        monitor["drift"] = measure_drift(share, collected.rollout, base)
    return EvaluationResult(
        scores,
        summaries(scores, share.groups.prompts, collected.group),
        monitor,
        collected.stats.deviations,
        sheet.tiles(),
        sheet.columns,
        collected.asked,
        sheet.shape,
        sheet.whole(),
        collected.verdict.failures,
        collected.num_broken,
    )


class _Sheet:
    """The first images of the first prompts, as bytes: row i has the i-th image of each."""

    def __init__(self, share: Shard) -> None:
        self._engine, self._size = share.collector.engine, share.groups.size
        self.columns = min(len(share.groups.prompts), _SHOWN_PROMPTS)
        self._rows = min(self._size, _SHOWN_IMAGES)
        self.shape: tuple[int, ...] = ()
        self._images: list[Tensor] = []
        self._keys: list[Tensor] = []
        self._whole: list[Tensor] = []
        self._whole_keys: list[Tensor] = []

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; keeps what is shown."""
        for batch in batches:
            self.shape = tuple(batch.images.shape[1:])
            prompt, member = batch.key // self._size, batch.key % self._size
            # Places and not a mask, whose number of rows would be waited for.
            shown = ((prompt < self.columns) & (member < self._rows)).nonzero()[:, 0]
            some = batch.images[send(shown, batch.images.device)]
            self._images.append(pictures.thumbnails(some))
            self._keys.append(batch.key[shown])
            if pictures.shrinks(batch.images):
                first = ((prompt < _WHOLE_PROMPTS) & (member == 0)).nonzero()[:, 0]
                own = batch.images[send(first, batch.images.device)]
                self._whole.append(pictures.levels(own))
                self._whole_keys.append(batch.key[first])
            yield batch

    def whole(self) -> dict[int, UInt8[Tensor, "num_frames 3 tall wide"]]:
        """Videos of all processes at their own size, by prompt; a broken one is left out."""
        if not self._whole:
            return {}
        gather = self._engine.gather
        videos, key = gather(torch.cat(self._whole)), gather(torch.cat(self._whole_keys))
        order = key.argsort().tolist()
        return {int(key[i]) // self._size: videos[i] for i in order}

    def tiles(self) -> UInt8[Tensor, "tiles *frames 3 height width"]:
        """Of all processes; a broken image stays grey."""
        gather = self._engine.gather
        images, key = gather(torch.cat(self._images)), gather(torch.cat(self._keys))
        shape = (self._rows * self.columns, *images.shape[1:])
        tiles = torch.full(shape, pictures.GREY, dtype=torch.uint8)
        tiles[key % self._size * self.columns + key // self._size] = images
        return tiles
