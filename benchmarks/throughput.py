"""What an epoch costs: its time against that of its calls alone, FLOP utilisation, memory, phases.

    python benchmarks/throughput.py [RECIPE ...] [--objective nft] [--repeats 5]
    python benchmarks/throughput.py --micro-batch 1 2 4 8 16 32 --compile     # on a GPU

Without recipes: Stable Diffusion 3.5 Medium at its full size with random weights at 512 px where
there is a GPU (LoRA 32, bfloat16), 30M parameters of the same architecture at 128 px where there is
none; its text encoders are tiny, as prompts are encoded once and not measured here.

Whole epochs (collect, score, learn) alternate with their calls alone: every network forward and
backward, decode and reward of such an epoch, made again on the same inputs one after the other.
"over" is the median of the ratio, less one; it can be negative, as rewards overlap with sampling.
FLOPs are counted (`zoo.plan.flops`: matrix products, convolutions, attention; a multiply-add is
two); utilisation is of what one large matrix product of the same dtype reaches here, in parentheses
of the data sheet's where the GPU is known. "est. GB" is what `zoo check` says of the peak on a GPU;
on a CPU the whole process is measured, and benchmarks/memory.py compares. The shares are of an
epoch that waits after each call.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.epoch_cost import cost
from benchmarks.random_sd3 import write
from zoo.plan.footprint import footprint
from zoo.plan.layout import Layout
from zoo.plan.memory import estimate
from zoo.recipe.recipe import Recipe, load_recipe, recipe_from
from zoo.training.build import build

OBJECTIVES = {
    "nft": ({"name": "nft"}, {"name": "dpm2"}),
    "flow_grpo": ({"name": "flow_grpo"}, {"name": "flow_sde"}),
    "dpo": ({"name": "dpo", "draws_per_pair": 9, "pairs_per_group": 4}, {"name": "flow_sde"}),
}
"""An objective and a solver: 10 steps, 9 of them trained on each of 16 images."""

DATA_SHEET = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 operations a second, by NVIDIA's data sheets."""


def sd3_recipe(objective: str, folder: Path, batch: int, *, compiled: bool, lora: bool) -> Recipe:
    """An epoch of 16 images: 2 groups of 8."""
    cuda = torch.cuda.is_available()
    trained, solver = OBJECTIVES[objective]
    return recipe_from({
        "name": objective,
        "epochs": 1,
        "policy": {
            "name": "diffusers",
            "pretrained": str(folder),
            "resolution": 512 if cuda else 128,
            "max_text_tokens": 128 if cuda else 32,
            "dtype": "bfloat16" if cuda and lora else "float32",
            "lora": {"rank": 32, "alpha": 64} if lora else None,
        },
        "sampler": {"solver": solver, "steps": 10},
        "rewards": [{"name": "jpeg_compressibility"}],
        "objective": trained,
        "data": {"train": "builtin:general/train", "groups_per_epoch": 2, "group_size": 8},
        "engine": {"micro_batch": {"sample": batch, "train": batch}, "compile": compiled},
    })  # fmt: skip


def measured(recipe: Recipe, name: str, repeats: int) -> None:
    """A line of numbers, and one of shares."""
    expected = "-"
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        parts = estimate(footprint(recipe, 1), Layout(None), 1, cuda=True).parts
        expected = f"{parts.total / 1e9:.2f}"
    found = cost(build(recipe).stages[0], repeats)
    of_product = found.flops_per_second / found.reachable
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    sheet = next((peak for key, peak in DATA_SHEET.items() if key in card), None)
    of_sheet = f" ({found.flops_per_second / sheet:.0%})" if sheet else ""
    print(
        f"{name:28} {found.images_per_second:8.2f} {found.forwards_per_second:10.1f} "
        f"{found.overhead:+7.1%} {found.flops / 1e12:8.2f} {of_product:6.0%}{of_sheet} "
        f"{found.peak_gb:7.2f} {expected:>7}"
    )
    shares = ", ".join(f"{phase} {share:.0%}" for phase, share in found.shares.items())
    print(f"{'':28} {shares}", flush=True)


def main() -> None:
    """Prints two lines for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", type=Path, nargs="*")
    parser.add_argument("--objective", nargs="+", default=list(OBJECTIVES), choices=OBJECTIVES)
    parser.add_argument("--micro-batch", type=int, nargs="+", default=[8])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="no LoRA: all weights are trained")
    parser.add_argument("--compile", action="store_true", help="also with compiled blocks")
    parser.add_argument("--set", "-s", action="append", default=[], help="as of zoo train")
    chosen = parser.parse_args()
    for library in ("TRANSFORMERS", "DIFFUSERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")  # read when these are imported
    os.environ.setdefault("TQDM_DISABLE", "1")
    print(
        f"{'':28} {'images/s':>8} {'forwards/s':>10} {'over':>7} {'TFLOP':>8} {'util.':>6} "
        f"{'peak GB':>7} {'est. GB':>7}"
    )
    for path in chosen.recipes:
        recipe = load_recipe(path, ["eval=null", *chosen.set])
        measured(recipe, recipe.name, chosen.repeats)
    if chosen.recipes:
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), full_size=torch.cuda.is_available())
        for compiled in (False, True) if chosen.compile else (False,):
            for batch in chosen.micro_batch:
                for objective in chosen.objective:
                    recipe = sd3_recipe(
                        objective, Path(folder), batch, compiled=compiled, lora=not chosen.full
                    )
                    name = f"{objective}, batch {batch}{', compiled' if compiled else ''}"
                    measured(recipe, name, chosen.repeats)


if __name__ == "__main__":
    main()
