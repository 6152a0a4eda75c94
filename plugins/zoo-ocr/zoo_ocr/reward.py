"""Text rendering: an OCR engine reads the image, an edit distance compares with what was asked.

The reward of Flow-GRPO (arXiv 2505.05470) and DiffusionNFT (arXiv 2509.16117):
1 - min(distance, n) / n for a wanted text of n characters, without white space and case folded.
Departs from the published code: PP-OCRv6 (small) reads instead of PaddleOCR's English models; an
image that could not be read is invalid (published: scores 0); rows of tilted text keep their order;
see zoo_ocr.wanted for what counts as the same character.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le, MinLen, MultipleOf
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward.base import Images, KnownAnswer, PerImage, Reward, Scores
from zoo_ocr.distance import edit_distance, nearest_edit_distance
from zoo_ocr.engine import EngineOptions, Line
from zoo_ocr.known import KNOWN_CONFIDENCE, known_answers
from zoo_ocr.readers import Readers, WorkerError
from zoo_ocr.wanted import Quoted, normal_form, wanted_text


class OCR(Reward):
    """How well the wanted text can be read in an image, in [0, 1]: 1 when all of it was read.

    1 - min(edits, n) / n, where `edits` turn what was read into the n wanted characters; white
    space and case do not count. A prompt says what it wants between double quotes (a sign that says
    "OPEN"), or as metadata {"text": "OPEN"}, which comes first. Nothing read scores 0.

    It also records `exact` (1 where the distance is 0, else 0) and `confidence` (the recogniser's,
    the mean over what it read; NaN where that is nothing). Reads on the CPU: about 0.3 s for an
    image of 512 px on one core.
    """

    def __init__(
        self,
        *,
        workers: Annotated[int, Ge(0)] = 0,
        match: Literal["substring", "nearest", "whole"] = "substring",
        lines: Literal["joined", "best"] = "joined",
        quoted: Quoted = "first",
        metadata_key: Annotated[str, MinLen(1)] = "text",
        min_confidence: Annotated[float, Ge(0), Le(1)] = 0.5,
        detection_side: Annotated[int, Ge(32), MultipleOf(32)] = 960,
        min_side: Annotated[int, Ge(32)] = 32,
        border: Annotated[int, Ge(0)] = 0,
    ) -> None:
        """Loads the engine or starts the workers; the defaults compare as the published code does.

        `workers` processes read at the same time (each process of a run has its own); 0 reads in
        the run's own process, beside the sampling. One that dies is started anew.
        `match`: 'substring' as published: nothing else that is read costs anything if the wanted
        text is among it, and everything if it is not; 'nearest' compares with the part of what was
        read that comes nearest, so that other text never costs; 'whole': other text always costs.
        `lines`: all that was read 'joined' in the order of reading, or the 'best' piece alone.
        `quoted`: the 'first' quoted part of a prompt as published, or 'all' one after another.
        `metadata_key`: which of a prompt's metadata, a text or a whole number, is the wanted text.
        `min_confidence`: what is read with less is left out.
        `detection_side`: pixels to which a longer side is reduced to find text, which is then read
        at full size; 960 as published. Less is faster, by its square, and misses small text.
        `min_side`: smaller images are enlarged to this, after a frame of `border` pixels in the
        edge's median colour is put around them; text that touches the edge is not found without.

        Raises:
            ValueError: the engine or its workers cannot start.
        """
        self._match, self._lines = match, lines
        self._quoted, self._key = quoted, metadata_key
        self._min_confidence = min_confidence
        options = EngineOptions(detection_side, min_confidence, min_side, border)
        try:
            self._readers = Readers(options, workers=workers)
        except WorkerError as error:
            raise ValueError(str(error)) from error

    @classmethod
    def check_prompt(cls, prompt: Prompt, options: Mapping[str, Any]) -> None:
        """Looks for the wanted text.

        Raises:
            PromptError: the prompt does not say which text it wants.
        """
        wanted_text(prompt, key=options["metadata_key"], quoted=options["quoted"])

    @torch.no_grad()
    def score(self, images: Images, prompts: Sequence[Prompt]) -> Scores:
        """The score of each image, rounded to 8 bits; NaN for one that is not finite.

        Raises:
            PromptError: a prompt does not say which text it wants.
            WorkerError: a worker process ended or could not read an image.
        """
        wanted = [wanted_text(prompt, key=self._key, quoted=self._quoted) for prompt in prompts]
        finite = images.isfinite().flatten(1).all(1)
        pixels = (images.float().nan_to_num() * 255.0).round().clamp(0.0, 255.0).to(torch.uint8)
        read = self._readers.read(list(pixels.permute(0, 2, 3, 1).cpu().numpy()))
        value = [self._score(lines, text) for lines, text in zip(read, wanted, strict=True)]
        extras = {"exact": [float(v == 1.0) for v in value], "confidence": list(map(_mean, read))}
        return Scores(
            _invalid_unless(finite, value),
            {name: _invalid_unless(finite, numbers) for name, numbers in extras.items()},
        )

    def known_answers(self) -> Sequence[KnownAnswer]:
        """Rendered words that every Pillow draws alike, asked for rightly, wrongly and in vain."""
        return known_answers() if self._min_confidence <= KNOWN_CONFIDENCE else ()

    def interrupt(self) -> bool:
        """Ends the worker processes, which the next call starts anew; in vain without workers."""
        return self._readers.interrupt()

    def _score(self, lines: Sequence[Line], wanted: str) -> float:
        texts = [normal_form(line.text) for line in lines]
        candidates = ["".join(texts)] if self._lines == "joined" else [*texts, ""]
        edits = min(_DISTANCES[self._match](read, wanted) for read in candidates)
        return 1.0 - min(edits, len(wanted)) / len(wanted)


def _substring_distance(read: str, wanted: str) -> int:
    return 0 if wanted in read else edit_distance(read, wanted)


_DISTANCES: dict[str, Callable[[str, str], int]] = {
    "substring": _substring_distance,
    "nearest": nearest_edit_distance,
    "whole": edit_distance,
}


def _mean(lines: Sequence[Line]) -> float:
    return sum(line.confidence for line in lines) / len(lines) if lines else float("nan")


def _invalid_unless(finite: Tensor, numbers: Sequence[float]) -> PerImage:
    values = torch.tensor(numbers, dtype=torch.float32, device=finite.device)
    return values.masked_fill(~finite, torch.nan)
