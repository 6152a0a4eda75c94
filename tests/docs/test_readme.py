"""The README is short, and names what a newcomer needs."""

import re

import pytest

from tests.docs.pages import DOCS, README, links
from tests.runs import ROOT

TEXT = README.read_text(encoding="utf-8")


def test_it_has_at_most_150_lines_and_1400_words():
    assert len(TEXT.splitlines()) <= 150
    assert len(TEXT.split()) <= 1400


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_it_names_the_two_commands_and_the_makefile_has_them(command):
    assert command in TEXT
    target = command.removeprefix("make ")
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_its_table_has_every_recipe():
    named = {name for cell in re.findall(r"^\| (`[^|]+`) \|", TEXT, re.MULTILINE)
             for name in re.findall(r"`(\w+)`", cell)}  # fmt: skip
    recipes = {path.stem for path in (ROOT / "recipes").glob("*.yaml")}
    assert recipes <= named


def test_it_leads_to_every_page_but_the_sites_own():
    pages = {f"docs/{page.name}" for page in DOCS.glob("*.md")} - {"docs/index.md"}
    assert pages <= set(links(TEXT))
