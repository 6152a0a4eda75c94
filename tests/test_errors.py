"""The words that error messages share; text of others is shown, not run."""

import pytest

from zoo.errors import (
    UserError,
    closest,
    first_line,
    join_lines,
    one_line,
    suggest,
    visible,
    visible_lines,
)
from zoo.recipe.errors import RecipeError


def test_an_error_is_said_in_one_line_with_or_without_its_type():
    error = ValueError("  no such\n  file  \n")
    assert first_line(error) == "no such"
    assert one_line(error) == "ValueError: no such"
    assert join_lines(error) == "no such file"


def test_an_error_that_says_nothing_is_its_type():
    for say in (first_line, one_line, join_lines):
        assert say(KeyError()) == "KeyError"
        assert say(OSError(" \n ")) == "OSError"


def test_the_most_similar_name_is_suggested_and_all_are_listed():
    assert closest("jpg", ["jpeg", "digit"]) == "; did you mean 'jpeg'?"
    assert closest("x", ["jpeg"]) == ""
    assert suggest("jpg", ["jpeg", "digit"], "allowed") == (
        "; did you mean 'jpeg'? allowed: jpeg, digit"
    )
    assert suggest("x", [], "installed") == "; installed: none"


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no")


class MuteForGood(Exception):
    def __str__(self):
        raise SystemExit(3)


def test_an_error_that_cannot_say_anything_is_its_type():
    for error in (Mute(), MuteForGood()):
        for say in (first_line, one_line, join_lines):
            assert say(error) == type(error).__name__


def test_a_newline_in_what_was_given_makes_no_second_line():
    assert UserError("no 'a\nerror: forged'").lines == ("no 'a\\nerror: forged'",)
    error = RecipeError("x: no 'a\nb'", "y: \x1b[2J")
    assert error.lines == ("x: no 'a\\nb'", "y: \\x1b[2J")
    assert str(error).splitlines() == list(error.lines)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a \x1b[31mred\x1b[2J prompt", "a \\x1b[31mred\\x1b[2J prompt"),
        ("key\nerror: forged", "key\\nerror: forged"),
        ("a\r\x00\x7f\x85b", "a\\r\\x00\\x7f\\x85b"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("a\u2066b\u2069\u200f\u061c", "a\\u2066b\\u2069\\u200f\\u061c"),
        ("one\u2028two\u2029three", "one\\u2028two\\u2029three"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_what_steers_is_escaped_as_python_writes_it(text, shown):
    assert visible(text) == shown
    assert visible(shown) == shown


@pytest.mark.parametrize(
    "text", ["größer ✓ 看板", "👩\u200d👩\u200d👧 🏳️\u200d🌈", "क्\u200dष", "a\tb"]
)
def test_every_language_and_emoji_stay(text):
    assert visible(text) == text


def test_lines_may_stay():
    assert visible_lines("a\nb\x1b\n") == "a\nb\\x1b\n"
