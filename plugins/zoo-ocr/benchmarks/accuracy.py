"""How well rendered texts are read: `python benchmarks/accuracy.py [NUM]`, 200 unless told.

The texts are those of builtin:ocr/test in Pillow's font, wrapped, black on white at 512 px; each is
scored for its own prompt and for its neighbour's.
"""

import sys
import textwrap

import torch
from torch import Tensor
from zoo_ocr.known import picture
from zoo_ocr.reward import OCR

from zoo.data.prompts import load


def main() -> None:
    """Prints the share that is read exactly, the mean score, and the mean for a wrong picture."""
    prompts = load("builtin:ocr/test")[: int(sys.argv[1]) if len(sys.argv) > 1 else 200]
    images = torch.stack([_render(str(prompt.metadata["text"])) for prompt in prompts])
    reward = OCR()
    own, other = reward.score(images, prompts), reward.score(images.roll(1, 0), prompts)
    sys.stdout.write(
        f"{len(prompts)} prompts: {float(own.extras['exact'].sum()):.0f} read exactly, "
        f"mean score {float(own.value.mean()):.3f}; "
        f"with another's picture {float(other.value.mean()):.3f}\n"
    )


def _render(text: str) -> Tensor:
    lines = textwrap.wrap(text, max(8, min(16, len(text))))
    letters = min(60, int(800 / max(map(len, lines))))
    return picture("\n".join(lines), size=(512, 512), letters=letters)


if __name__ == "__main__":
    main()
