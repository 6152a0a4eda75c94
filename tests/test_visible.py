"""Text of others is shown, not run."""

import pytest

from zoo.visible import visible, visible_lines


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
