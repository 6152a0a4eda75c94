"""Reads the text of one image with PP-OCRv6 (rapidocr) on one CPU thread, without any network.

Imports neither torch nor zoo: worker processes run this file alone.
"""

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zoo_ocr.reading_order import reading_order

Pixels = NDArray[np.uint8]
"""One image [height, width, 3], RGB."""

_DETECTOR = "PP-OCRv6_det_small.onnx"
_RECOGNISER = "PP-OCRv6_rec_small.onnx"


@dataclass(frozen=True)
class EngineOptions:
    """How an image is read; the reward's options of the same names."""

    detection_side: int
    min_confidence: float
    min_side: int
    border: int


@dataclass(frozen=True)
class Line:
    """A piece of text that was read, with the recogniser's confidence in [0, 1]."""

    text: str
    confidence: float


class Reader(Protocol):
    """Whatever reads an image: an engine in this process, or a worker process that has one."""

    def read(self, image: Pixels) -> list[Line]:
        """The image's lines in the order of reading; none where there is no text."""


class Engine:
    """The OCR engine in this process; calls from several threads take turns."""

    def __init__(self, options: EngineOptions) -> None:
        """Loads the weights that rapidocr's wheel carries, in 0.2 s.

        Raises:
            ValueError: rapidocr has no such weights.
        """
        from rapidocr import RapidOCR

        self._options = options
        self._engine: Any = RapidOCR(params=_settings(options))
        self._lock = Lock()

    def read(self, image: Pixels) -> list[Line]:
        """The image's lines in the order of reading; none where there is no text."""
        bgr = np.ascontiguousarray(_prepare(image, self._options)[..., ::-1])
        with self._lock:
            output = self._engine(bgr)
        if output.txts is None:
            return []
        lines = [
            Line(str(text), float(confidence))
            for text, confidence in zip(output.txts, output.scores, strict=True)
        ]
        return [lines[i] for i in reading_order([box.astype(np.float64) for box in output.boxes])]


def _settings(options: EngineOptions) -> dict[str, Any]:
    """Settings for rapidocr; weights given as files are the only ones it never downloads."""
    import rapidocr

    folder = Path(rapidocr.__file__).parent / "models"
    for name in (_DETECTOR, _RECOGNISER):
        if not (folder / name).is_file():
            raise ValueError(
                f"rapidocr has no {name} in {folder}; "
                "pip install --force-reinstall --no-deps rapidocr==3.10.0"
            )
    threads = {"intra_op_num_threads": 1, "inter_op_num_threads": 1}
    return {
        "Global.use_cls": False,
        # It warns of every image without text.
        "Global.log_level": "error",
        "Global.text_score": options.min_confidence,
        "Det.model_path": str(folder / _DETECTOR),
        "Det.limit_type": "max",
        "Det.limit_side_len": options.detection_side,
        "Rec.model_path": str(folder / _RECOGNISER),
        **{f"EngineConfig.onnxruntime.{name}": value for name, value in threads.items()},
    }


def _prepare(image: Pixels, options: EngineOptions) -> Pixels:
    """The image in a frame of its edge's median colour, enlarged to the least side."""
    import cv2

    framed = _frame(image, options.border) if options.border else image
    height, width = framed.shape[:2]
    scale = options.min_side / min(height, width)
    if scale <= 1.0:
        return framed
    size = (round(width * scale), round(height * scale))
    enlarged = cv2.resize(framed, size, interpolation=cv2.INTER_CUBIC)
    return enlarged.astype(np.uint8, copy=False)


def _frame(image: Pixels, border: int) -> Pixels:
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    height, width = image.shape[:2]
    framed = np.empty((height + 2 * border, width + 2 * border, 3), np.uint8)
    framed[:] = np.median(edge, axis=0).astype(np.uint8)
    framed[border : border + height, border : border + width] = image
    return framed
