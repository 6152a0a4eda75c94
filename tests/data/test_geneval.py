"""GenEval's kinds of prompts."""

from collections import Counter
from hashlib import blake2b
from importlib.resources import files
from itertools import combinations, permutations

import pytest

from zoo.data.geneval import PUBLISHED
from zoo.data.geneval_scenes import CLASSES, COLORS, POSITIONS, SCENES, key
from zoo.data.prompts import load
from zoo.prompt import Prompt, PromptError

TRAIN, TEST = "builtin:geneval/train", "builtin:geneval/test"


def by_tag(prompts: list[Prompt]) -> Counter[str]:
    return Counter(prompt.metadata["tag"] for prompt in prompts)


def published() -> set[str]:
    return set((files("zoo") / "assets" / "geneval_published.txt").read_text().split())


def digest(scene: str) -> str:
    whole = blake2b(f"geneval scene\x1f{scene}".encode(), digest_size=8).digest()
    return f"{int.from_bytes(whole, 'little') >> 1:016x}"


def obj(name: str, **more: object) -> dict[str, object]:
    return {"class": name, "count": 1} | more


STRUCTURES = {
    ("single_object", 13): ("a bench", [obj("bench")]),
    ("two_object", 1058): ("a bench and a sports ball", [obj("bench"), obj("sports ball")]),
    ("counting", 222): ("two clocks", [obj("clock", count=2)]),
    ("colors", 94): ("a blue fire hydrant", [obj("fire hydrant", color="blue")]),
    ("position", 5361): (
        "a dog right of a teddy bear",
        [obj("teddy bear"), obj("dog", position=["right of", 0])],
    ),
    ("color_attr", 277882): (
        "a purple wine glass and a black apple",
        [obj("wine glass", color="purple"), obj("apple", color="black")],
    ),
}


@pytest.mark.parametrize(("tag", "number"), STRUCTURES)
def test_each_kind_has_the_published_structure(tag: str, number: int) -> None:
    text, include = STRUCTURES[tag, number]
    exclude = {"exclude": [{"class": "clock", "count": 3}]} if tag == "counting" else {}
    prompt = SCENES[tag][1](number)
    assert prompt.text == f"a photo of {text}"
    assert prompt.metadata == {"tag": tag, "include": include, **exclude}


@pytest.mark.parametrize(
    "tag",
    [
        "single_object",
        "two_object",
        "counting",
        "colors",
        pytest.param("position", marks=pytest.mark.slow),
    ],
)
def test_scenes_of_a_kind_are_all_different_and_no_person_has_a_colour(tag: str) -> None:
    size, make = SCENES[tag]
    prompts = [make(i) for i in range(size)]
    assert len({prompt.text for prompt in prompts}) == size
    for prompt in prompts:
        classes = [each["class"] for each in prompt.metadata["include"]]
        assert len(set(classes)) == len(classes)
        assert tag != "colors" or "person" not in classes


def test_order_alone_makes_no_other_scene() -> None:
    def two(*include: dict) -> str:
        return key({"tag": "color_attr", "include": list(include)})

    def placed(what: str, place: str, by: str) -> str:
        include = [obj(by), obj(what, position=[place, 0])]
        return key({"tag": "position", "include": include})

    assert two(obj("cat"), obj("dog")) == two(obj("dog"), obj("cat"))
    red_cat, blue_dog = obj("cat", color="red"), obj("dog", color="blue")
    assert two(red_cat, blue_dog) == two(blue_dog, red_cat)
    assert two(red_cat, blue_dog) != two(obj("cat", color="blue"), obj("dog", color="red"))
    assert placed("cat", "left of", "dog") == placed("dog", "right of", "cat")
    assert placed("cat", "above", "dog") == placed("dog", "below", "cat")
    assert len({placed("cat", place, "dog") for place in POSITIONS}) == 4


@pytest.mark.slow
def test_every_published_scene_is_one_of_ours() -> None:
    # 552: one of the 553 is asked for twice, "a cow right of a laptop" from either side.
    wanted = published()
    assert len(wanted) == 552
    # Enumerated anew: under the tests' checks of types, half a million calls would take minutes.
    colored = [f"1 {color} {name}" for color in COLORS for name in CLASSES]
    plain = [f"1  {name}" for name in CLASSES]
    keys = [f"single_object|{each}" for each in plain]
    keys += [f"two_object|{a}|{b}" for a, b in combinations(sorted(plain), 2)]
    keys += [f"counting|{num}  {name}" for num in (2, 3, 4) for name in CLASSES]
    keys += [f"colors|{each}" for each in colored]
    keys += [
        f"position|{p}|{a}|{b}" for p in ("left of", "above") for a, b in permutations(plain, 2)
    ]
    keys += [f"color_attr|{a}|{b}" for a, b in combinations(sorted(colored), 2)]
    assert wanted == wanted & {digest(each) for each in keys}


def test_the_test_set_has_as_many_of_each_kind_as_the_published_one() -> None:
    prompts = load(TEST)
    assert by_tag(prompts) == PUBLISHED
    assert len(prompts) == len({key(prompt.metadata) for prompt in prompts}) == 553
    assert sum(PUBLISHED.values()) == 553


@pytest.mark.slow
def test_training_holds_no_scene_that_is_tested() -> None:
    tested = {digest(key(prompt.metadata)) for prompt in load(TEST)} | published()
    for seed in (0, 7):
        found = load(f"{TRAIN}?num=3000&seed={seed}")
        assert not {digest(key(prompt.metadata)) for prompt in found} & tested


@pytest.mark.slow
def test_the_mix_is_flow_grpos_and_counts_are_exact() -> None:
    assert by_tag(load(TRAIN)) == {
        "position": 2100, "counting": 1500, "two_object": 900, "color_attr": 300, "colors": 300
    }  # fmt: skip
    found = by_tag(load(f"{TRAIN}?num=100&tags=position:2,colors,counting:0"))
    assert found == {"position": 67, "colors": 33}


def test_a_kind_with_few_scenes_repeats_them_equally_often() -> None:
    counts = Counter(prompt.text for prompt in load(f"{TRAIN}?num=1000&tags=counting"))
    assert 80 <= len(counts) <= 160
    assert max(counts.values()) - min(counts.values()) <= 1
    once = Counter(prompt.text for prompt in load(f"{TRAIN}?num=80&tags=counting"))
    assert set(once.values()) == {1}


def test_prompts_are_the_same_every_time_and_others_with_another_seed() -> None:
    assert load(f"{TRAIN}?num=50") == load(f"{TRAIN}?num=50&seed=0")
    assert [prompt.text for prompt in load(f"{TRAIN}?num=3")] == FIRST
    assert load(f"{TRAIN}?num=50&seed=1") != load(f"{TRAIN}?num=50")
    assert load(TEST) == load(TEST)


FIRST = [
    "a photo of a car and a dining table",
    "a photo of a hot dog below a hair drier",
    "a photo of two surfboards",
]


def test_fewer_test_prompts_are_some_of_them_in_proportion() -> None:
    whole, part = load(TEST), load(f"{TEST}?num=60")
    assert all(prompt in whole for prompt in part)
    assert len(part) == 60
    assert set(by_tag(part)) == set(PUBLISHED)
    assert max(by_tag(part).values()) - min(by_tag(part).values()) <= 3
    assert by_tag(load(f"{TEST}?tags=counting,position")) == {"counting": 80, "position": 100}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (f"{TRAIN}?num=0", "num is a whole number of 1 or more, not '0'"),
        (f"{TRAIN}?num=1e3", "num is a whole number of 1 or more, not '1e3'"),
        (f"{TRAIN}?seed=-1", "seed is a whole number of 0 or more, not '-1'"),
        (f"{TRAIN}?sed=1", "unknown option 'sed'; did you mean 'seed'. allowed: num, seed, tags"),
        (f"{TRAIN}?tags=colour", "no kind of prompts 'colour'; did you mean 'colors'. allowed: si"),
        (f"{TRAIN}?tags=colors:x", "a weight is a whole number of 0 or more; write colors:5, say"),
        (f"{TRAIN}?tags=colors,colors:2", "'colors' is written twice"),
        (f"{TRAIN}?tags=colors:0", "at least one kind a weight above 0"),
        (f"{TRAIN}?tags=single_object", "no prompts of 'single_object': all of them are tested"),
        (f"{TEST}?seed=1", "unknown option 'seed'.* allowed: num, tags"),
        (f"{TEST}?num=554", "has 553 prompts of single_object, .*color_attr, not 554"),
        (f"{TEST}?tags=counting:2", "kinds without weights, not 'counting:2'"),
    ],
)
def test_options_that_are_wrong_are_said_in_a_line(source: str, said: str) -> None:
    with pytest.raises(PromptError, match=said) as caught:
        load(source)
    assert "\n" not in str(caught.value)
