"""The commands that pages show can be typed: their options are known, their recipes valid."""

from pathlib import Path

import pytest
import typer

from tests.docs.pages import PAGES, code, commands, name_of
from tests.runs import ROOT
from zoo.cli.main import app
from zoo.recipe.recipe import load_recipe

GROUP = typer.main.get_command(app)
COMMANDS = sorted(
    {tuple(words) for page in PAGES for words in commands(page.read_text(encoding="utf-8"))}
)
MADE_BY_THE_READER = ("my_reward",)
"""Components that a page has the reader write first."""
WITH_RECIPE = [
    words
    for words in COMMANDS
    if words[0] in ("train", "check") and words[1].endswith(".yaml")
    if not any(name in word for word in words for name in MADE_BY_THE_READER)
]


def parsed(words):
    """The context of a command, as the command line makes it before it runs."""
    command, context, arguments = GROUP, None, list(words)
    while hasattr(command, "commands"):
        context = command.make_context(command.name, [], parent=context, resilient_parsing=True)
        name, command, arguments = command.resolve_command(context, arguments)
    return command.make_context(name, arguments, parent=context)


def test_there_are_commands():
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_that_a_page_shows_parses(words):
    assert parsed(words).params


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("words", WITH_RECIPE, ids=" ".join)
def test_the_recipe_of_a_command_is_valid_with_its_overrides(words):
    options = parsed(words).params
    path = options["recipe"] if words[0] == "train" else options["recipes"][0]
    recipe = load_recipe(
        ROOT / Path(path), options["overrides"] or [], options["epochs"], tiny=options["tiny"]
    )
    assert recipe.name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_command_in_a_sentence_is_one(page):
    for text in code(page.read_text(encoding="utf-8")):
        if text.startswith("zoo "):
            assert text.split()[1] in GROUP.commands, text
