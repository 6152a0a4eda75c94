"""The page for who comes from the published code names keys and recipes that exist."""

import re

import pytest

from tests.docs.pages import has_key
from tests.runs import ROOT
from zoo.recipe.recipe import load_recipe

PAGE = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
ROWS = [line.split("|")[1:4] for line in PAGE.splitlines() if line.startswith("| `")]
RECIPES = [
    load_recipe(ROOT / "recipes" / f"{name}.yaml").resolved()
    for name in ("nft_sd3_multi", "flow_grpo_sd3_geneval", "dpo_sd3_pickscore")
]


def ours():
    """Every dotted key in the middle column."""
    found = {key for row in ROWS for key in re.findall(r"`([a-z_.]+)`", row[1])}
    return sorted(key for key in found if key.partition(".")[0] in RECIPES[0])


def test_the_page_has_keys():
    assert len(ours()) > 30


@pytest.mark.parametrize("key", ours())
def test_a_key_of_ours_is_one(key):
    assert any(has_key(data, key) for data in RECIPES)


def test_its_recipes_are_there():
    named = set(re.findall(r"`(?:recipes/)?([a-z0-9_]+)\.yaml`", PAGE))
    named |= set(re.findall(r"recipes/([a-z0-9_]+)\.yaml", PAGE))
    assert named
    for name in named:
        assert (ROOT / "recipes" / f"{name}.yaml").is_file(), name
