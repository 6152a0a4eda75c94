"""GenEval without mmdet: Mask2Former finds objects, CLIP names their colours.

Ghosh et al. 2023 (GenEval, arXiv 2310.11513); as a reward Liu et al. 2025 (Flow-GRPO, arXiv
2505.05470). Departs from them: Mask2Former swin-small comes from the original authors' weights on
the hub, not from mmdet's training of the same architecture; and the detector sees red as red, where
Flow-GRPO's server hands RGB images to mmdet, which takes arrays for BGR.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward.base import Images, Reward, Scores
from zoo.reward.geneval.scores import Grading, Score
from zoo.reward.geneval.scoring import Found, FoundObjects
from zoo.reward.geneval.wanted import TAGS, Wanted
from zoo.storage.place import Place
from zoo_geneval.colors import ColorNamer
from zoo_geneval.crops import crop
from zoo_geneval.detections import Detection, Limits
from zoo_geneval.detector import Detector
from zoo_geneval.metadata import read_wanted
from zoo_geneval.tiny import write_clip, write_detector

Share = Annotated[float, Ge(0), Le(1)]


class GenEval(Reward):
    """Whether an image shows the objects, counts, colours and positions that a prompt asks for.

    Prompts need GenEval's {"tag": ..., "include": [{"class": "dog", "count": 2}]} in their
    metadata. Beside the score it records the official `accuracy`, the exact `strict_accuracy`, and
    both by tag: `accuracy/counting`, say. GenEval's overall score is the mean of the six tags.
    """

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        detector: Place = "facebook/mask2former-swin-small-coco-instance",
        clip: Place = "openai/clip-vit-large-patch14",
        score: Score = "training",
        clamp: bool = False,
        partial_position: bool = True,
        threshold: Share = 0.3,
        counting_threshold: Share = 0.9,
        position_threshold: Annotated[float, Ge(0)] = 0.1,
        max_objects: Annotated[int, Ge(1)] = 16,
        max_overlap: Annotated[float, Gt(0), Le(1)] = 1.0,
        shortest_side: Annotated[int, Ge(32)] = 800,
        longest_side: Annotated[int, Ge(32)] = 1333,
        detector_batch: Annotated[int, Ge(1)] = 8,
        clip_batch: Annotated[int, Ge(1)] = 64,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    ) -> None:
        """Loads the models; every default is the published value.

        `detector` and `clip` are names on the hub or local folders. `score` is what is trained on:
        `training` is the mean over requirements of 1 - abs(wanted - found) / wanted with terms for
        colours and positions, at most 1 and unbounded below unless `clamp`; `accuracy` and `strict`
        are 0 or 1. `partial_position` gives half of a position's credit for a wrong one, as
        Flow-GRPO's code does. An object is one that the detector is surer of than `threshold`, or
        `counting_threshold` under the tag counting, the `max_objects` surest of a class, without
        those whose boxes overlap by `max_overlap` or more (1 keeps all). `position_threshold` is
        the share of the objects' sizes that an offset must exceed. The detector sees images with
        `shortest_side` pixels, or fewer where `longest_side` would be exceeded.

        Raises:
            ValueError: a model cannot be loaded, or the detector has not COCO's classes.
        """
        self._device = device
        self._grading = Grading(score, position_threshold, clamp, partial_position)
        usual = Limits(threshold, max_objects, max_overlap)
        counting = Limits(counting_threshold, max_objects, max_overlap)
        self._limits = {tag: counting if tag == "counting" else usual for tag in TAGS}
        self._detector = Detector(
            device, detector, dtype=getattr(torch, dtype), batch=detector_batch,
            shortest=shortest_side, longest=longest_side,
        )  # fmt: skip
        self._namer = ColorNamer(device, clip, dtype=getattr(torch, dtype), batch=clip_batch)

    @classmethod
    def write_tiny(cls, folder: Path) -> dict[str, Any]:
        """Writes small random models; the options that load them, and find something with them."""
        write_detector(folder / "detector")
        write_clip(folder / "clip")
        return {
            "detector": str(folder / "detector"),
            "clip": str(folder / "clip"),
            "shortest_side": 64,
            "longest_side": 128,
            "threshold": 0.002,
            "counting_threshold": 0.002,
        }

    @classmethod
    def check_prompt(cls, prompt: Prompt, options: Mapping[str, Any]) -> None:
        """Looks for GenEval's metadata.

        Raises:
            PromptError: what is missing or wrong.
        """
        read_wanted(prompt)

    @torch.no_grad()
    def score(self, images: Images, prompts: Sequence[Prompt]) -> Scores:
        """The score of each image; NaN for one with a value that is not finite.

        Raises:
            PromptError: a prompt's metadata is not GenEval's.
        """
        asked = [read_wanted(prompt) for prompt in prompts]
        finite = images.flatten(1).isfinite().all(1)
        names = [each.names for each in asked]
        limits = [self._limits[each.tag] for each in asked]
        # No network says anything of NaN; what it says of 0 in its place is left out below.
        seen = images.to(self._device).nan_to_num(0.0, 0.0, 0.0)
        detected = self._detector.find(seen, names, limits)
        found = self._with_colors(seen, asked, detected)
        return self._grading.scores(asked, found, finite)

    def _with_colors(
        self,
        images: Images,
        asked: Sequence[Wanted],
        detected: Sequence[Mapping[str, Sequence[Detection]]],
    ) -> list[FoundObjects]:
        """What was found, the objects whose colour decides with their colours."""
        crops: dict[tuple[int, str, int], Tensor] = {}
        for row, wanted_here in enumerate(asked):
            for each in wanted_here.include:
                objects = detected[row][each.name]
                if each.color and len(objects) >= each.count:
                    for i, surest in enumerate(objects[: each.count]):
                        crops[row, each.name, i] = crop(images[row], surest, self._namer.size)
        names = [name for _, name, _ in crops]
        colors = dict(zip(crops, self._namer.name(list(crops.values()), names), strict=True))
        return [
            {
                name: [
                    Found(each.box, colors.get((row, name, i))) for i, each in enumerate(objects)
                ]
                for name, objects in by_class.items()
            }
            for row, by_class in enumerate(detected)
        ]
