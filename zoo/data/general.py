"""Varied prompts for rewards of taste: people, places, food, counts, colours, styles and so on.

Written for this project; no prompt of training is one of evaluation. Their metadata is
{"category": "places"}, say.
"""

from importlib.resources import as_file, files
from typing import Literal

from zoo.data import files as prompt_files
from zoo.prompt import Prompt


def prompts(split: Literal["train", "eval"]) -> list[Prompt]:
    """The 250 prompts for training, 25 a category, or the 80 for evaluation, 8 a category."""
    name = f"general_{split}.jsonl"
    with as_file(files("zoo") / "assets" / name) as path:
        return prompt_files.load(path, name)
