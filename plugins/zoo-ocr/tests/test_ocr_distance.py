"""Edit distances, against recursions written from their definitions."""

from functools import cache
from itertools import combinations

import pytest
import torch
from zoo_ocr.distance import edit_distance, nearest_edit_distance


def words(num: int, letters: str = "abc", longest: int = 7) -> list[str]:
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(0, longest + 1, (num,), generator=generator).tolist()
    return [
        "".join(letters[i] for i in torch.randint(0, len(letters), (n,), generator=generator))
        for n in sizes
    ]


@cache
def by_definition(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    if a[0] == b[0]:
        return by_definition(a[1:], b[1:])
    return 1 + min(by_definition(a[1:], b), by_definition(a, b[1:]), by_definition(a[1:], b[1:]))


def nearest_by_definition(read: str, wanted: str) -> int:
    ends = combinations(range(len(read) + 1), 2)
    return min(by_definition(part, wanted) for part in {"", *(read[i:j] for i, j in ends)})


@pytest.mark.parametrize(
    ("read", "wanted", "distance"),
    [
        ("kitten", "sitting", 3),
        ("", "abc", 3),
        ("abc", "", 3),
        ("open", "open", 0),
        ("opne", "open", 2),
        ("openn", "open", 1),
    ],
)
def test_known_distances(read, wanted, distance):
    assert edit_distance(read, wanted) == distance


def test_it_is_the_recursion_of_the_definition():
    for read, wanted in combinations(words(60), 2):
        assert edit_distance(read, wanted) == by_definition(read, wanted)


def test_it_does_not_depend_on_the_direction():
    for read, wanted in combinations(words(20), 2):
        assert edit_distance(read, wanted) == edit_distance(wanted, read)


def test_the_nearest_part_is_the_best_of_all_parts():
    for read, wanted in combinations(words(40), 2):
        assert nearest_edit_distance(read, wanted) == nearest_by_definition(read, wanted)


def test_other_text_costs_the_nearest_part_nothing():
    assert nearest_edit_distance("café open 24 hours", "open") == 0
    assert nearest_edit_distance("café opan 24 hours", "open") == 1
    assert nearest_edit_distance("", "open") == 4
