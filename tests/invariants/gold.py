"""The gold curve: what the first epochs of recipes/nft_digits.yaml must give, on any CPU.

`python -m tests.invariants.make_gold` makes it anew, after a change that means to alter results.
"""

import json
from pathlib import Path

import torch

from tests.runs import ROOT
from tests.train_here import recipe, train_here

FILE = Path(__file__).parent / "gold_nft_digits.json"
EPOCHS = 3
KEYS = ("reward", "reward_std", "loss", "grad_norm", "eval/digit", "eval/judge", "num_evals")


def curve(out: Path) -> list[dict[str, float]]:
    """The numbers of each epoch, from the one before any update, which has no loss."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trained = recipe(ROOT / "recipes/nft_digits.yaml", epochs=EPOCHS, eval__every=1)
        lines = train_here(trained, out)
    finally:
        torch.set_num_threads(threads)
    return [{key: line[key] for key in KEYS if key in line} for line in lines]


def stored() -> list[dict[str, float]]:
    """What is compared with."""
    return json.loads(FILE.read_text())
