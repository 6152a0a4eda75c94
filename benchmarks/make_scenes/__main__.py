"""Makes the model of the task `scenes` anew, from nothing; started again it goes on where it was.

    python -m benchmarks.make_scenes [--threads 2] [--out DIR] [--work DIR]

An autoencoder, then the transformer with its text encoders, are trained on scenes that are drawn
as they are needed, and written as a pipeline of diffusers. It prints how often the held-out judge
finds what was asked for, kind by kind, and draws pictures to look at.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.make_scenes.autoencoder import make_autoencoder
from benchmarks.make_scenes.measure import accuracies, reconstructions
from benchmarks.make_scenes.parts import pipeline, save
from benchmarks.make_scenes.sampled import TAGS
from benchmarks.make_scenes.training import Schedule
from benchmarks.make_scenes.transformer import Stage, make_transformer

_ASSETS = Path(__file__).parents[2] / "zoo" / "assets" / "scenes"
_HARD = {"two_object": 2.0, "position": 3.0, "color_attr": 3.0}
_WRONG = {
    "single_object": 0.5, "two_object": 0.5, "counting": 0.55, "colors": 0.55, "position": 0.45,
    "color_attr": 0.45,
}  # fmt: skip


def main() -> None:
    """Makes the model, or what of it is not made yet."""
    options = _parser().parse_args()
    torch.set_num_threads(options.threads)
    work: Path = options.work
    images = Schedule(steps=options.images // 48, batch=48, lr=2e-3, warm=50)
    autoencoder = make_autoencoder(work, seed=options.seed, schedule=images)
    rebuilt = reconstructions(autoencoder, work / "autoencoder.png", seed=options.seed)
    print(f"autoencoder: {rebuilt:.1%} of scenes are as before", flush=True)
    stages = (
        Stage("right", _schedule(options.samples, options.lr)),
        Stage("hard", _schedule(options.hard, 0.75 * options.lr), often=_HARD),
        Stage(
            "wrong", _schedule(options.misled, 0.25 * options.lr),
            wrong={**_WRONG, **dict(options.wrong)},
        ),
    )  # fmt: skip
    transformer, encoders = make_transformer(work, autoencoder, stages, seed=options.seed)
    save(pipeline(transformer, encoders, autoencoder), options.out)
    measured = accuracies(options.out, work / "samples.png", seed=options.seed, each=options.each)
    for name, accuracy in measured.items():
        print(f"{name}: {accuracy:.3f}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="make the weights of the task scenes anew")
    parser.add_argument("--out", type=Path, default=_ASSETS, help="where the pipeline is written")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/make_scenes"), help="checkpoints and pictures"
    )
    parser.add_argument("--seed", type=int, default=0, help="another one needs another --work")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=150_000, help="for the autoencoder")
    parser.add_argument(
        "--samples",
        type=int,
        default=1_300_000,
        help="for the transformer, with right captions; "
        "more of them go on from a finished training, at its low rate",
    )
    parser.add_argument(
        "--hard", type=int, default=1_300_000, help="samples after them, most of them of hard kinds"
    )
    parser.add_argument(
        "--misled", type=int, default=50_000, help="samples after these, some with wrong captions"
    )
    parser.add_argument("--each", type=int, default=120, help="images of a kind that are measured")
    parser.add_argument("--lr", type=float, default=2e-3, help="of the transformer")
    parser.add_argument(
        "--wrong",
        type=_share,
        action="append",
        default=[],
        metavar="TAG:SHARE",
        help=f"how many images show something else than their caption; {_WRONG}",
    )
    return parser


def _schedule(samples: int, lr: float) -> Schedule:
    return Schedule(steps=samples // 64, batch=64, lr=lr)


def _share(text: str) -> tuple[str, float]:
    tag, _, share = text.partition(":")
    if tag not in TAGS or not 0 <= float(share) <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write one of {', '.join(TAGS)}, :, 0 to 1")
    return tag, float(share)


if __name__ == "__main__":
    main()
