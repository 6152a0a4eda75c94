"""`zoo prompts`."""

import pytest

from zoo.data.builtin import BUILTIN


@pytest.mark.slow
def test_without_a_source_the_built_in_sets_are_listed(zoo_here):
    ended = zoo_here("prompts")
    assert ended.code == 0
    assert all(f"builtin:{name} " in ended.out for name in BUILTIN)
    assert "hub:OWNER/NAME?split=train" in ended.out


def test_a_source_is_counted_by_kind_and_its_first_prompts_are_shown(zoo_here, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"prompt": "a [bold]cat", "tag": "x"}\n'
        '{"prompt": "a dog", "tag": "y"}\n'
        '{"prompt": "a dog", "tag": "y"}\n'
    )
    ended = zoo_here("prompts", path, "-n", "2")
    assert ended.code == 0
    heading, kinds, first, second = ended.out.splitlines()
    assert heading == f"{path}: 3 prompts, 2 different"
    assert kinds == "by tag: y 2, x 1"
    assert first == "  a [bold]cat  {'tag': 'x'}"
    assert second == "  a dog  {'tag': 'y'}"


def test_a_source_that_cannot_be_read_is_said_in_a_line(zoo_here):
    ended = zoo_here("prompts", "builtin:general/trian")
    assert (ended.code, len(ended.lines)) == (2, 1)
    assert ended.err.startswith("error: no built-in prompts 'general/trian'; did you mean")
