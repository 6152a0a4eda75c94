"""What a prompt asks for."""

import pytest
from zoo_ocr.wanted import normal_form, wanted_text

from zoo.prompt import Prompt, PromptError


def wanted(text, /, *, quoted="first", key="text", **metadata):
    return wanted_text(Prompt(text, metadata), key=key, quoted=quoted)


@pytest.mark.parametrize(
    "text",
    [
        'a sign that says "Open 24"',
        "a sign that says “Open 24”",
        "ein Schild mit „Open 24“",
        'a sign that says "Open 24" beside one that says "Closed"',
        'a sign that says " OPEN\t2 4 "',
    ],
)
def test_the_first_quoted_part_is_wanted_without_case_and_space(text):
    assert wanted(text) == "open24"


def test_all_quoted_parts_are_wanted_one_after_another():
    assert wanted('a "Fresh Bread" sign, below it “Daily”', quoted="all") == "freshbreaddaily"


def test_metadata_come_before_quotes():
    assert wanted('a book titled "Dune"', text="Emma") == "emma"


def test_another_key_can_be_the_wanted_text():
    assert wanted("the digit seven", key="digit", digit=7) == "7"
    assert wanted("the digit zero", key="digit", digit=0) == "0"


def test_a_single_quote_mark_quotes_nothing():
    assert wanted("a mug that says 'tea' and \"it's\"") == "it's"


def test_characters_of_one_meaning_are_one():
    assert normal_form("Ｄon’t！ 7–9…") == normal_form("don't! 7-9...")  # noqa: RUF001


def test_accents_and_scripts_are_kept():
    assert normal_form("Café") != normal_form("Cafe")
    assert normal_form("营业 中") == "营业中"


@pytest.mark.parametrize(
    ("text", "metadata"),
    [
        ("a cat", {}),
        ('a "" sign', {}),
        ('a " " sign', {}),
        ('a sign that says "open', {}),
        ('a sign that says "open"', {"text": " "}),
        ('a sign that says "open"', {"text": ["open"]}),
        ('a sign that says "open"', {"text": True}),
        ('a sign that says "open"', {"text": 2.5}),
    ],
)
def test_a_prompt_that_wants_nothing_readable_is_an_error_in_one_line(text, metadata):
    with pytest.raises(PromptError, match="the reward 'ocr' needs") as caught:
        wanted(text, **metadata)
    assert "\n" not in str(caught.value)
    assert repr(text) in str(caught.value)
