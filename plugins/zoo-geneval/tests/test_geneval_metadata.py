"""What a prompt's metadata asks for, and what it may not say."""

import pytest
from zoo_geneval.metadata import read_wanted

from zoo.data.prompts import load
from zoo.prompt import Prompt, PromptError
from zoo.reward.geneval.wanted import TAGS, Position, Requirement, Wanted

DOG = {"class": "dog", "count": 1}


def read(include, tag="two_object", **more):
    return read_wanted(Prompt("a photo", {"tag": tag, "include": include, **more}))


def test_counting_excludes_one_more():
    found = read([{"class": "dog", "count": 3}], "counting", exclude=[{"class": "dog", "count": 4}])
    assert found == Wanted("counting", (Requirement("dog", 3),), (Requirement("dog", 4),))
    assert found.names == {"dog"}


def test_colors_and_positions_are_read():
    found = read([{**DOG, "color": "red"}, {"class": "cup", "count": 1, "position": ["above", 0]}])
    assert found.include == (
        Requirement("dog", 1, "red"),
        Requirement("cup", 1, None, Position("above", 0)),
    )
    assert found.names == {"dog", "cup"}


@pytest.mark.parametrize("name", ["mouse", "computer mouse"])
def test_a_class_goes_by_genevals_name_however_it_is_spelt(name):
    assert read([{"class": name, "count": 1}]).include[0].name == "computer mouse"


def test_what_other_rewards_read_is_left_alone():
    assert read([DOG], digit=7, prompt="a photo").include == (Requirement("dog", 1),)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("source", ["builtin:geneval/train", "builtin:geneval/test"])
def test_zoos_own_prompts_are_read(source):
    found = [read_wanted(prompt) for prompt in load(source)]
    assert {each.tag for each in found} >= set(TAGS) - {"single_object"}
    assert any(each.exclude for each in found)


@pytest.mark.parametrize("metadata", [{}, {"include": [DOG]}, {"tag": "counting"}, {"digit": 7}])
def test_missing_metadata_is_named_in_a_line(metadata):
    with pytest.raises(PromptError, match="'a photo' has no 'tag' and 'include'") as refused:
        read_wanted(Prompt("a photo", metadata))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ([], "'include' is empty"),
        ("dog", r"'include' is 'dog'; write a list"),
        ({"class": "dog"}, r"'include' is \{'class': 'dog'\}; write a list"),
        (["dog"], r"include\[0\] is 'dog'; write"),
        ([{"count": 1}], r"include\[0\] has the class None"),
        (
            [DOG, {"class": "dgo", "count": 1}],
            r"include\[1\]: unknown class 'dgo'; did you .*'dog'",
        ),
        ([{"class": "dog"}], r"include\[0\] has the count None; write an integer"),
        ([{"class": "dog", "count": 0}], r"include\[0\] has the count 0"),
        ([{"class": "dog", "count": True}], r"include\[0\] has the count True"),
        ([{"class": "dog", "count": 1.0}], r"include\[0\] has the count 1.0"),
        ([{**DOG, "colour": "red"}], r"include\[0\] has the key 'colour'; did you mean 'color'"),
        ([{**DOG, "color": "teal"}], r"include\[0\].color is 'teal'.*allowed: red, orange"),
        ([{**DOG, "color": None}], r"include\[0\].color is None"),
        ([{**DOG, "color": ["red"]}], r"include\[0\].color is \['red'\]"),
        ([DOG, {**DOG, "position": "left of"}], r"include\[1\].position is 'left of'; write"),
        ([DOG, {**DOG, "position": ["left of"]}], r"include\[1\].position is \['left of'\]; write"),
        ([DOG, {**DOG, "position": ["left", 0]}], r"position is 'left'; did you mean 'left of'"),
        ([DOG, {**DOG, "position": ["left of", 1]}], r"relative to 1; name an earlier clause"),
        ([{**DOG, "position": ["left of", 0]}], r"relative to 0; name an earlier clause"),
        ([DOG, {**DOG, "position": ["left of", -1]}], r"relative to -1; name an earlier"),
        ([DOG, {**DOG, "position": ["left of", "0"]}], r"relative to '0'; name an earlier"),
    ],
)
def test_bad_clauses_are_refused_in_a_line(include, message):
    with pytest.raises(PromptError, match=message) as refused:
        read(include)
    assert str(refused.value).startswith("the GenEval metadata of the prompt 'a photo': ")
    assert "\n" not in str(refused.value)


def test_an_excluded_class_has_no_color():
    with pytest.raises(PromptError, match=r"exclude\[0\] has the key 'color'.*allowed: class, cou"):
        read([DOG], exclude=[{**DOG, "color": "red"}])


def test_an_unknown_tag_is_refused():
    with pytest.raises(PromptError, match="tag is 'color'; did you mean 'colors'"):
        read([DOG], tag="color")
