"""Files that were written to break what reads them are refused in one line, and soon."""

import os
import time

import pytest

from zoo.recipe.errors import OptionOrigin, RecipeError
from zoo.recipe.load import Override, read
from zoo.recipe.recipe import recipe_from

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)
MERGED = "a0: &a0 {k: 1}\n" + "".join(
    f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)


@pytest.fixture
def refusal(tmp_path, monkeypatch):
    """Writes a file, and gives the one line that refuses it."""
    monkeypatch.chdir(tmp_path)

    def of(text, overrides=()):
        (tmp_path / "r.yaml").write_text(text)
        start = time.monotonic()
        with pytest.raises(RecipeError) as raised:
            read("r.yaml", overrides)
        assert time.monotonic() - start < 60
        (line,) = raised.value.lines
        assert str(raised.value) == line
        return line

    return of


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "over 20,000 keys and items, with all that its aliases (*) stand for"),
        ("x: " + "[" * 900 + "]" * 900, "nested more than 50 deep"),
        ("x: " + "[" * 20_000, "nested more than 50 deep"),
        ('seed: !!int ""', "this is not YAML"),
        ("seed: !!omap x", "r.yaml"),
        ('seed: !!float ""', "this is not YAML"),
        ("seed: !!timestamp x", "r.yaml"),
        ("seed: " + "9" * 5_000, "this is not YAML"),
        ("seed: 0x" + "f" * 5_000, "r.yaml:1: a whole number lies between -2^63 and 2^63"),
        ("a: 1\nseed: 9223372036854775808", "r.yaml:2: a whole number lies between"),
        ('a: 1\nname: "\\ud800"', "r.yaml"),
        ('a: 1\npath: "a\\0b"', "r.yaml:2: the text 'a\\x00b' has '\\x00', which no file's name"),
        ('"a\\0b": 1', "r.yaml:1: the text 'a\\x00b' has '\\x00'"),
        (f"extends: {'a' * 300}.yaml", "r.yaml:1: extends aaa"),
        ("x: [" + "1," * 200_000 + "]", "r.yaml: the file has over 100,000 characters"),
        ("x:\n  " + "- " * 20_000, "nested more than 50 deep"),
        ("x: [" + "1," * 20_001 + "]", "over 20,000 keys and items"),
        ('"a\\nerror: forged": 1\n"a\\nerror: forged": 2', "written twice"),
    ],
)  # fmt: skip
def test_a_hostile_file_is_refused_at_once(text, said, refusal):
    assert said in refusal(text)


def test_merges_of_merges_are_read_or_refused_at_once(tmp_path):
    (tmp_path / "r.yaml").write_text(MERGED)
    start = time.monotonic()
    assert read(tmp_path / "r.yaml").data["a8"] == {"k": 1}
    assert time.monotonic() - start < 60


def test_an_override_is_held_to_the_same(refusal):
    assert "-s seed=" in refusal("a: 1", [f"seed={2**63}"])
    origin = OptionOrigin("--prompts x")
    given = Override(("data", "eval"), "\udcff.txt", origin)
    assert refusal("a: 1", [given]).startswith("--prompts x: the text '\\udcff.txt' has '\\udcff'")


def test_a_loop_of_links_is_no_file(tmp_path, monkeypatch, refusal):
    os.symlink("loop.yaml", tmp_path / "loop.yaml")
    assert "extends loop.yaml, which is no file" in refusal("extends: loop.yaml")


def test_recipes_that_extend_each_other_have_an_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(200):
        (tmp_path / f"{i}.yaml").write_text(f"extends: {i + 1}.yaml\n")
    with pytest.raises(RecipeError, match=r"over 50 recipes extend each other"):
        read("0.yaml")


def test_many_mistakes_are_told_in_part_and_soon():
    start = time.monotonic()
    with pytest.raises(RecipeError) as raised:
        recipe_from({f"key{i}": 1 for i in range(15_000)})
    assert time.monotonic() - start < 60
    assert len(raised.value.lines) == 51
    assert raised.value.lines[-1].startswith("recipe: and 14,95")


def test_a_path_that_is_not_utf_8_is_said():
    with pytest.raises(RecipeError, match=r"recipe: '\\udcff' is in a text, which is no UTF-8"):
        recipe_from({"output_dir": "runs\udcff"})
