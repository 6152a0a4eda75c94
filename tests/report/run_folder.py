"""Run folders as training writes them, small enough to be made in a test."""

import json
import math
from pathlib import Path

from PIL import Image

from zoo.run import pictures
from zoo.training.looks import MEASURES

PROMPTS = ("a <b>red</b> fox & $x$", "two `cats` | dogs")
TILE = 8
MADE = {
    "solver": {"name": "euler"}, "steps": 10, "guidance": 1.0, "seed": 42, "height": TILE,
    "width": TILE, "frames": None, "weights": "ema", "fingerprint": "0f",
}  # fmt: skip
"""How every evaluation made its images."""


def run_folder(folder: Path, *, epochs: int = 6, every: int = 2, seed: int = 0, speed: float = 1.0):
    """A finished run with two evaluated rewards, one of them held out."""
    (folder / "images").mkdir(parents=True)
    (folder / "evaluations").mkdir()
    write(folder / "recipe.json", recipe(epochs, seed))
    write(folder / "environment.json", {"zoo": "0.1.0", "gpus": [], "code": {"zoo": "abc123"}})
    probe = {"name": "broken images", "measured": 0, "expected": 0, "tolerance": 0, "holds": True}
    write(folder / "probes.json", [probe])
    write(
        folder / "end.json", {"epoch": epochs, "reason": "epochs", "text": f"all {epochs} epochs"}
    )
    lines = []
    for epoch in range(epochs + 1):
        score = 1 - math.exp(-speed * epoch / 3) + 0.01 * seed
        line = {
            "epoch": epoch, "step": 4 * epoch, "num_evals": 2000 * epoch, "num_images": 128 * epoch,
            "seconds": 1.5 * epoch, "peak_memory_gb": 0.5, "reward": score - 0.05,
            "flat_groups": epoch, "flat_groups_share": epoch / 8,
        }  # fmt: skip
        if epoch:
            line |= {"loss": 20.0 / epoch, "kl": 0.01 * epoch, "lr": 0.003,
                     "images_per_second": 100.0 + epoch, "communication_share": 0.0,
                     "seconds/collect": 1.0, "seconds/learn": 0.5, "tflops/collect": 2.0,
                     "tflops/learn": 4.0, "mfu/learn": 0.25, "waits/rewards": 0.15,
                     "waits/data": 0.0, "waits/processes": 0.0}  # fmt: skip
        if epoch % every == 0 or epoch == epochs:
            line |= evaluate(folder, epoch, score)
        lines.append(line)
    write_metrics(folder, lines)
    return folder


def evaluate(folder: Path, epoch: int, score: float):
    held_out = score - 0.1
    write(
        folder / "evaluations" / f"{epoch:06}.json",
        {
            "epoch": epoch, "images_per_prompt": 2,
            "rewards": {"fox": True, "judge": False},
            "scores": {"fox": [score, score + 0.1, score, None], "judge": [held_out] * 4},
            "shown_prompts": PROMPTS, "shown_rows": 3, "made": MADE,
        },
    )  # fmt: skip
    size = (pictures.GAP + 2 * (TILE + pictures.GAP), pictures.GAP + 3 * (TILE + pictures.GAP))
    sheet = Image.new("RGB", size, "white")
    for column in range(2):
        for row in range(3):
            corner = (pictures.GAP + column * (TILE + pictures.GAP),
                      pictures.GAP + row * (TILE + pictures.GAP))  # fmt: skip
            sheet.paste(Image.new("RGB", (TILE, TILE), colour(epoch, column, row)), corner)
    sheet.save(folder / "images" / f"epoch_{epoch:06}.png")
    return {
        "eval/fox": score, "eval/judge": held_out, "eval_error/fox": 0.02, "eval_error/judge": 0.03,
        "monitor/held_out": held_out, "monitor/trained": score,
        "monitor/diversity": 0.3 - 0.1 * score,
        "monitor/similarity": 0.6, "monitor/drift": 0.05 * epoch,
        **{f"monitor/{name}": 0.1 + 0.01 * epoch for name in MEASURES},
        **{f"monitor_std/{name}": 0.04 for name in MEASURES},
        "seconds/evaluate": 0.25,
    }  # fmt: skip


def colour(epoch: int, column: int, row: int):
    """Of a tile, so that a test can tell them apart."""
    return (20 * epoch, 100 * column, 80 * row)


def recipe(epochs: int, seed: int):
    return {
        "name": "fox", "seed": seed, "epochs": epochs,
        "policy": {"name": "digits", "lora": {"rank": 8, "start": None}, "checkpoint": None},
        "sampler": {"name": "flow", "solver": {"name": "dpm2"}, "steps": 10},
        "rewards": [{"name": "fox", "weight": 1.0, "label": None}],
        "objective": {"name": "nft", "beta": 0.1},
        "note": "<script>alert(1)</script>",
    }  # fmt: skip


def write(path: Path, data):
    path.write_text(json.dumps(data))


def write_metrics(folder: Path, lines):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def metrics(folder: Path):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
