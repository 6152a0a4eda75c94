"""Makes the reward's detector anew: `python -m benchmarks.make_scenes.detector`, some minutes."""

import argparse
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from benchmarks.make_scenes.sampled import captions
from benchmarks.make_scenes.training import Schedule, train
from zoo import seeds
from zoo.data.scenes.layout import place
from zoo.data.scenes.shapes import Objects, render
from zoo.reward.scenes.network import CELL, CELLS, Detector
from zoo.seeds import Draws

_FILE = Path(__file__).parents[2] / "zoo" / "assets" / "scenes_detector.safetensors"


def main() -> None:
    """Trains it, and writes its weights."""
    parser = argparse.ArgumentParser(description="make the detector of the reward scenes anew")
    parser.add_argument("--out", type=Path, default=_FILE, metavar="FILE")
    parser.add_argument("--work", type=Path, default=Path("runs/make_scenes"))
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    detector = make_detector(options.work, Schedule(options.steps, batch=64, lr=2e-3))
    made_by = {"made_by": "python -m benchmarks.make_scenes.detector"}
    save_file(detector.state_dict(), options.out, metadata=made_by)


def make_detector(folder: Path, schedule: Schedule, *, seed: int = 0) -> Detector:
    """Trained on blurred and noisy scenes, since a policy's are not as clean as rendered ones."""
    with seeds.borrowed(seed, "scenes detector"):
        detector = Detector()

    def loss_of(step: int) -> Float[Tensor, ""]:
        keys = torch.arange(step * schedule.batch, (step + 1) * schedule.batch)
        draws = Draws(seed, "scenes detector", 0, keys)
        known = captions()
        scenes = place(known.asked.take(known.some(draws)), draws)
        return loss(detector, disturbed(render(scenes), draws), scenes)

    train("detector", detector, loss_of, schedule, folder)
    return detector


def disturbed(
    images: Float[Tensor, "batch 3 32 32"], draws: Draws
) -> Float[Tensor, "batch 3 32 32"]:
    """With some blur, noise, and other brightness of each channel."""
    blur, noise, *light = draws.at("disturbed").uniform((5,))[:, :, None, None, None].unbind(1)
    smooth = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    images = images + blur * 0.7 * (smooth - images)
    gain = 0.85 + 0.3 * torch.cat(light, dim=1)
    return (images * gain + 0.12 * noise * draws.at("noise").normal(images.shape[1:])).clamp(0, 1)


def loss(
    detector: Detector, images: Float[Tensor, "batch 3 32 32"], scenes: Objects
) -> Float[Tensor, ""]:
    """Cross entropies, and how far boxes are off, in cells."""
    cells = detector(images)
    row, which = scenes.present.nonzero(as_tuple=True)
    middle = scenes.center[row, which] / CELL
    x, y = middle.long().clamp(0, CELLS - 1).unbind(1)
    is_object = torch.zeros_like(cells.object)
    is_object[row, 0, y, x] = 1.0
    offset = middle - torch.stack([x, y], dim=1) - 0.5
    size = (scenes.radius[row, which] / CELL).log()
    return (
        20.0 * F.binary_cross_entropy_with_logits(cells.object, is_object)
        + F.cross_entropy(cells.shape[row, :, y, x], scenes.shape[row, which], label_smoothing=0.02)
        + F.cross_entropy(cells.color[row, :, y, x], scenes.color[row, which], label_smoothing=0.02)
        + F.l1_loss(cells.offset[row, :, y, x], offset)
        + F.l1_loss(cells.size[row, 0, y, x], size)
    )


if __name__ == "__main__":
    main()
