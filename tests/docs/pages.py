"""The pages that a reader sees, and what tests look for in them."""

import re
import shlex
from pathlib import Path
from typing import Any

from tests.runs import ROOT

README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    """As a test's name has it."""
    return str(page.relative_to(ROOT))


def links(text: str) -> list[str]:
    """Where a page's links and pictures lead."""
    return re.findall(r"\]\(([^)\s]+)\)", text)


def code(text: str) -> list[str]:
    """What is between single backticks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def blocks(text: str) -> list[str]:
    """Code that is indented, a string a block."""
    return [
        re.sub(r"^ {4}", "", block, flags=re.MULTILINE)
        for block in re.findall(r"(?:^ {4}.*\n?)+", text, flags=re.MULTILINE)
    ]


def commands(text: str) -> list[list[str]]:
    """The words of every `zoo ...` that stands on a line of its own, without its comment.

    One after `$ ` is shown with what it prints, which may be an error, and is left out.
    """
    lines = "".join(blocks(text)).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("zoo ")]


def has_key(recipe: Any, key: str) -> bool:
    """Whether a recipe as data has the key `a.b.c`."""
    for part in key.split("."):
        if not isinstance(recipe, dict) or part not in recipe:
            return False
        recipe = recipe[part]
    return True
