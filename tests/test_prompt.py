"""A prompt that comes with images, as each of them has it."""

from pathlib import Path

import pytest

from zoo.prompt import ImageBytes, ImageCell, ImageFile, Prompt, PromptError

PAIR = (ImageFile(Path("a.png")), ImageFile(Path("b.png")))


def test_a_prompt_without_images_is_the_same_for_all():
    prompt = Prompt("a cat", {"preference": [1, 0]})
    assert prompt.member(0) is prompt.member(7) is prompt


def test_a_member_has_its_own_image_and_its_own_preference():
    prompt = Prompt("a cat", {"preference": [0.25, 3], "digit": 7}, PAIR)
    first, second = prompt.member(0), prompt.member(1)
    assert (first.images, second.images) == ((PAIR[0],), (PAIR[1],))
    assert first.metadata == {"preference": 0.25, "digit": 7}
    assert second.metadata == {"preference": 3, "digit": 7}
    assert first.text == second.text == "a cat"
    assert prompt.metadata == {"preference": [0.25, 3], "digit": 7}


@pytest.mark.parametrize("preference", [0.5, "no", [1, 2, 3], None])
def test_what_is_no_list_with_a_number_for_each_stays(preference):
    prompt = Prompt("a cat", {"preference": preference}, PAIR)
    assert prompt.member(1).metadata == {"preference": preference}


def test_an_image_that_a_prompt_has_not_is_said():
    with pytest.raises(PromptError, match=r"with 2 images .* number 3; write data.group_size: 2$"):
        Prompt("a cat", images=PAIR).member(2)


def test_stored_images_are_named_in_errors_and_can_be_keys():
    cell, held = ImageCell(Path("d/x.parquet"), "jpg_0", 4), ImageBytes("digit 3", b"abc")
    assert str(cell) == "d/x.parquet: row 5, column 'jpg_0'"
    assert (str(held), str(PAIR[0])) == ("digit 3", "a.png")
    assert len({cell, held, *PAIR}) == 4
    assert "abc" not in repr(held)
