"""What hand-made objects are worth, for every tag."""

from itertools import product

import pytest

from zoo.reward.geneval.scoring import Found, accuracy, strict_accuracy, training_score
from zoo.reward.geneval.wanted import Position, Requirement, Wanted

LEFT, RIGHT = (0.0, 0.0, 10.0, 10.0), (50.0, 0.0, 60.0, 10.0)

SINGLE = Wanted("single_object", (Requirement("dog", 1),))
TWO = Wanted("two_object", (Requirement("dog", 1), Requirement("cup", 1)))
COUNTING = Wanted("counting", (Requirement("dog", 3),), (Requirement("dog", 4),))
COLORS = Wanted("colors", (Requirement("dog", 1, "red"),))
POSITION = Wanted(
    "position", (Requirement("dog", 1), Requirement("cup", 1, None, Position("left of", 0)))
)
COLOR_ATTR = Wanted("color_attr", (Requirement("dog", 1, "red"), Requirement("cup", 1, "blue")))
RED_DOGS = Wanted("color_attr", (Requirement("dog", 2, "red"), Requirement("cup", 1, "blue")))
BOTH = Wanted(
    "position", (Requirement("dog", 1), Requirement("cup", 1, "red", Position("left of", 0)))
)


def of(*colors, box=LEFT):
    return [Found(box, color) for color in colors]


def plain(count, box=LEFT):
    return of(*[None] * count, box=box)


CASES = {
    # wanted, found, accuracy, strict accuracy, training score
    "one": (SINGLE, {"dog": plain(1)}, 1, 1, 1.0),
    "none": (SINGLE, {"dog": []}, 0, 0, 0.0),
    "nothing of the class": (SINGLE, {}, 0, 0, 0.0),
    "one too many": (SINGLE, {"dog": plain(2)}, 1, 0, 0.0),
    "many too many": (SINGLE, {"dog": plain(16)}, 1, 0, -14.0),
    "two": (TWO, {"dog": plain(1), "cup": plain(1)}, 1, 1, 1.0),
    "one of two": (TWO, {"dog": plain(1), "cup": []}, 0, 0, 0.5),
    "one of two too often": (TWO, {"dog": plain(1), "cup": plain(2)}, 1, 0, 0.5),
    "three": (COUNTING, {"dog": plain(3)}, 1, 1, 1.0),
    "two of three": (COUNTING, {"dog": plain(2)}, 0, 0, 2 / 3),
    "four of three, which is excluded": (COUNTING, {"dog": plain(4)}, 0, 0, 2 / 3),
    "right color": (COLORS, {"dog": of("red")}, 1, 1, 1.0),
    "wrong color": (COLORS, {"dog": of("blue")}, 0, 0, 0.5),
    "nothing to be of a color": (COLORS, {"dog": []}, 0, 0, 0.0),
    "the surest has the color": (COLORS, {"dog": of("red", None)}, 1, 0, 0.0),
    "the surest has not the color": (COLORS, {"dog": of("blue", "red")}, 0, 0, 0.0),
    "right place": (POSITION, {"dog": plain(1, RIGHT), "cup": plain(1)}, 1, 1, 1.0),
    "wrong place": (POSITION, {"dog": plain(1), "cup": plain(1, RIGHT)}, 0, 0, 0.75),
    "same place": (POSITION, {"dog": plain(1), "cup": plain(1)}, 0, 0, 0.75),
    "no target": (POSITION, {"dog": [], "cup": plain(1)}, 0, 0, 1 / 3),
    "two targets": (POSITION, {"dog": plain(2, RIGHT), "cup": plain(1)}, 1, 0, 1 / 3),
    "nothing to place": (POSITION, {"dog": plain(1), "cup": []}, 0, 0, 1 / 3),
    "both colors": (COLOR_ATTR, {"dog": of("red"), "cup": of("blue")}, 1, 1, 1.0),
    "colors swapped": (COLOR_ATTR, {"dog": of("blue"), "cup": of("red")}, 0, 0, 0.5),
    "one color": (COLOR_ATTR, {"dog": of("red"), "cup": of("red")}, 0, 0, 0.75),
    "color of one alone": (COLOR_ATTR, {"dog": of("red"), "cup": []}, 0, 0, 0.5),
    "half of the dogs": (RED_DOGS, {"dog": of("red", "blue"), "cup": of("blue")}, 0, 0, 3.5 / 4),
    "color and place": (BOTH, {"dog": plain(1, RIGHT), "cup": of("red")}, 1, 1, 1.0),
    "wrong color, place not asked": (
        BOTH,
        {"dog": plain(1, RIGHT), "cup": of("pink")},
        0,
        0,
        2 / 3,
    ),
    "count wrong, one 0 for both": (BOTH, {"dog": plain(1, RIGHT), "cup": []}, 0, 0, 1 / 3),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_objects_are_worth_what_the_published_code_gives(case):
    wanted, found, right, strict, score = case
    assert accuracy(wanted, found, position_threshold=0.1) == bool(right)
    assert strict_accuracy(wanted, found, position_threshold=0.1) == bool(strict)
    assert trained(wanted, found) == pytest.approx(score, abs=1e-12)


def trained(wanted, found, *, clamp=False, partial_position=True):
    return training_score(
        wanted, found, position_threshold=0.1, clamp=clamp, partial_position=partial_position
    )


def test_a_clamped_count_is_never_below_0():
    many = {"dog": plain(16), "cup": plain(1)}
    assert trained(TWO, many) == (-14 + 1) / 2
    assert trained(TWO, many, clamp=True) == 0.5
    assert trained(TWO, {"dog": plain(1)}, clamp=True) == 0.5


def test_a_wrong_position_can_earn_nothing():
    wrong, right = ({"dog": plain(1, dog), "cup": plain(1, cup)}
                    for dog, cup in ((LEFT, RIGHT), (RIGHT, LEFT)))  # fmt: skip
    assert trained(POSITION, wrong) == 3 / 4
    assert trained(POSITION, wrong, partial_position=False) == 2 / 3
    assert trained(POSITION, right, partial_position=False) == 1.0
    without = {"dog": [], "cup": plain(1)}
    assert trained(POSITION, without, partial_position=False) == trained(POSITION, without) == 1 / 3


def test_every_object_must_be_in_its_place_from_every_target():
    cups = Wanted(
        "position", (Requirement("dog", 2), Requirement("cup", 2, None, Position("left of", 0)))
    )
    between = [Found(LEFT), Found((30.0, 0.0, 40.0, 10.0))]
    assert accuracy(cups, {"dog": plain(2, RIGHT), "cup": between}, position_threshold=0.1)
    dogs = [Found(RIGHT), Found((20.0, 0.0, 25.0, 10.0))]
    assert not accuracy(cups, {"dog": dogs, "cup": between}, position_threshold=0.1)


def test_what_is_excluded_makes_an_image_wrong():
    no_cats = Wanted("two_object", (Requirement("dog", 1),), (Requirement("cat", 2),))
    for cats, right in ((0, True), (1, True), (2, False), (3, False)):
        found = {"dog": plain(1), "cat": plain(cats)}
        assert accuracy(no_cats, found, position_threshold=0.1) == right
        assert strict_accuracy(no_cats, found, position_threshold=0.1) == right


def test_strictly_right_is_right_and_earns_all():
    for wanted in (SINGLE, TWO, COUNTING, COLORS, POSITION, COLOR_ATTR, RED_DOGS, BOTH):
        strict = 0
        for dogs, cups, dog, cup, at in product(
            range(5), range(3), ("red", "blue"), ("red", "blue"), (LEFT, RIGHT)
        ):
            found = {"dog": of(*[dog] * dogs, box=RIGHT), "cup": of(*[cup] * cups, box=at)}
            score = trained(wanted, found)
            assert score <= 1
            if strict_accuracy(wanted, found, position_threshold=0.1):
                strict += 1
                assert accuracy(wanted, found, position_threshold=0.1)
                assert score == 1
            elif not wanted.exclude:
                assert score < 1
        assert strict > 0
