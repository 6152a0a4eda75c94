"""Random numbers on their way to a device: drawn while the rows before are computed with."""

import threading
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from zoo import seeds
from zoo.seeds import Draws

PARTS = [torch.tensor(part) for part in ([4, 0], [1, 1, 3], [2])]


def draws(device: str) -> Draws:
    return Draws(3, "some", 2, torch.arange(5), device)


def asked(one: Draws, number: int) -> list[Tensor]:
    """As a loss asks, twice for the same; the second part for something that no other has."""
    found = [one.normal((2, 3)), one.at("t").uniform(), one.normal((2, 3)), one.normal((4,))]
    return [*found, one.at("else").permutation(4)] if number == 1 else found


@pytest.fixture
def threads(monkeypatch) -> list[bool]:
    """Whether each row's numbers were drawn by another thread than this one."""
    this, seen, fill = threading.get_ident(), [], seeds._fill
    monkeypatch.setattr(
        seeds, "_fill", lambda *given: seen.append(threading.get_ident() != this) or fill(*given)
    )
    return seen


def test_numbers_in_turn_are_those_of_the_rows_taken(threads):
    expected = [asked(draws("cpu").take(part), i) for i, part in enumerate(PARTS)]
    threads.clear()
    turns = draws("sim").in_turn(PARTS)
    for i, (one, wanted) in enumerate(zip(turns, expected, strict=True)):
        found = asked(one, i)
        assert {x.device.type for x in found} == {"sim"}
        assert all(torch.equal(a.cpu(), b) for a, b in zip(found, wanted, strict=True))
    # Drawn here: the first part's four, what a part asks for again, and what only the second wants.
    assert threads.count(False) == 4 + 2 + 1
    # Ahead: three for the second part, and for the third, which asks for no permutation, four.
    assert threads.count(True) == 3 + 4


def test_a_loss_that_fails_leaves_no_thread_behind():
    before = threading.active_count()
    turns = draws("sim").in_turn(PARTS)
    next(turns).normal((2,))
    turns.close()
    assert threading.active_count() == before


def test_on_the_cpu_none_is_drawn_ahead(threads):
    for one in draws("cpu").in_turn(PARTS):
        one.normal((2,))
    assert threads == [False] * 3


def test_rows_taken_of_a_turn_are_drawn_for_themselves():
    for one, part in zip(draws("sim").in_turn(PARTS), PARTS, strict=True):
        one.normal((2,))
        taken = one.take(torch.tensor([0])).normal((2,)).cpu()
        assert torch.equal(taken, draws("cpu").take(part[:1]).normal((2,)))


def test_rows_that_are_renamed_in_a_turn_have_the_numbers_of_their_names():
    for one in draws("sim").in_turn(PARTS):
        one.normal((2,))
        named = replace(one, keys=one.keys // 2)
        found = named.normal((2,)).cpu()
        assert torch.equal(found, replace(draws("cpu"), keys=named.keys).normal((2,)))
