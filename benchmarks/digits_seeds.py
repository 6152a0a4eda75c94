"""The table of the README: each algorithm's digits recipe with several seeds.

    python benchmarks/digits_seeds.py [--seeds 0 1 2] [--out DIR]

Seconds are those of collecting and learning; they depend on the machine, the rest on the seeds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean

RECIPES = ("nft_digits", "flow_grpo_digits", "dpo_digits", "dpo_digits_offline", "nft_digits_multi")
FOLDER = Path(__file__).parent.parent / "recipes"


def main() -> None:
    """Trains and prints one line of markdown a recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    out = arguments.out or Path(tempfile.mkdtemp())
    print("| recipe | judge before | judge after, by seed | forwards | seconds | diversity |")
    print("|---|---|---|---|---|---|")
    for recipe in RECIPES:
        runs = [trained(recipe, seed, out) for seed in arguments.seeds]
        before = mean(run[0]["eval/judge"] for run in runs)
        after = ", ".join(f"{run[-1]['eval/judge']:.3f}" for run in runs)
        seconds = mean(run[-1]["seconds"] for run in runs)
        diversity = [mean(run[i]["eval/diversity"] for run in runs) for i in (0, -1)]
        print(
            f"| `{recipe}` | {before:.2f} | {after} | {runs[0][-1]['num_evals']:,} "
            f"| {seconds:.1f} | {diversity[0]:.2f} -> {diversity[1]:.2f} |",
            flush=True,
        )


def trained(recipe: str, seed: int, out: Path) -> list[dict[str, float]]:
    """The metrics of a run, by epoch."""
    folder = out / str(seed)
    command = [sys.executable, "-m", "zoo", "train", str(FOLDER / f"{recipe}.yaml")]
    command += ["-s", f"seed={seed}", "-s", f"output_dir={folder}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    newest = sorted((folder / recipe).iterdir())[-1]
    return [json.loads(line) for line in (newest / "metrics.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    main()
