"""Random numbers by name."""

import math

import pytest
import torch

from zoo import seeds
from zoo.seeds import Draws, derive, order


def draws(keys: list[int], **changed) -> Draws:
    wanted = {"seed": 0, "purpose": "test", "epoch": 0} | changed
    return Draws(keys=torch.tensor(keys, dtype=torch.long), **wanted)


def test_derived_seeds_never_change() -> None:
    assert derive(0, "test") == 1276406229124699275
    assert all(0 <= derive(i, "a") < 2**63 for i in range(100))
    assert len({derive(i) for i in range(1000)}) == 1000


def test_parts_do_not_run_together() -> None:
    assert derive("ab", "c") != derive("a", "bc")
    assert derive(1, 12) != derive(11, 2)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 4, 4)])
def test_a_row_is_the_same_in_any_company_and_order(kind, shape) -> None:
    whole = getattr(draws([5, 0, 9, 2]), kind)(shape)
    assert whole.shape == (4, *shape)
    assert whole.dtype == torch.float32
    assert torch.equal(getattr(draws([9]), kind)(shape)[0], whole[2])
    assert torch.equal(getattr(draws([2, 5]), kind)(shape), whole[[3, 0]])
    taken = getattr(draws([5, 0, 9, 2]).take(torch.tensor([1, 1, 3])), kind)(shape)
    assert torch.equal(taken, whole[[1, 1, 3]])


def test_rows_in_turn_have_the_numbers_of_rows_taken() -> None:
    parts = [torch.tensor([2, 0]), torch.tensor([1])]
    whole = draws([5, 0, 9])
    turns = [one.at("t").normal((3,)) for one in whole.in_turn(parts)]
    assert torch.equal(torch.cat(turns), whole.at("t").normal((3,))[[2, 0, 1]])


def test_asking_twice_gives_the_same_numbers() -> None:
    one = draws([1, 2])
    assert torch.equal(one.normal((4,)), one.normal((4,)))


def test_anything_of_the_name_changes_the_numbers() -> None:
    first = draws([1]).normal((4,))
    others = [
        draws([2]),
        draws([1], seed=1),
        draws([1], purpose="other"),
        draws([1], epoch=1),
        draws([1]).at("t"),
        draws([1]).at("t").at(0),
        draws([1]).at(0).at("t"),
        draws([1]).at(0),
    ]
    seen = [tuple(first.flatten().tolist())]
    seen += [tuple(other.normal((4,)).flatten().tolist()) for other in others]
    assert len({*seen}) == len(seen)
    assert not torch.equal(draws([1]).uniform((4,)), draws([1]).normal((4,)))


def test_names_whose_seeds_share_their_lower_half_have_numbers_of_their_own() -> None:
    # The first two of this stem: torch's generator on the CPU keeps 32 bits of a seed.
    alike = [1740, 79004]
    first, second = (derive(0, "test", 0, "normal", key) % 2**32 for key in alike)
    assert first == second
    one, other = draws(alike).normal((64,))
    assert float(torch.corrcoef(torch.stack([one, other]))[0, 1].abs()) < 5 / math.sqrt(64)


def test_a_name_s_numbers_never_change_but_with_the_version() -> None:
    assert seeds.VERSION == 2
    found = draws([0]).normal((3,))[0].tolist()
    assert found == pytest.approx(
        [0.2378314584493637, 0.5042430758476257, -0.16076578199863434], rel=1e-6
    )
    assert draws([0]).uniform((3,))[0].tolist() == [
        0.928245484828949,
        0.14461183547973633,
        0.7424849271774292,
    ]


def test_the_global_generator_neither_matters_nor_moves() -> None:
    torch.manual_seed(1)
    first, after = draws([3]).normal((8,)), torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), after)
    assert torch.equal(draws([3]).normal((8,)), first)


def test_normal_numbers_have_mean_0_and_variance_1_and_rows_are_independent() -> None:
    x = draws(list(range(400))).normal((400,)).double()
    # Five standard errors of each statistic, at n = 160,000.
    assert abs(float(x.mean())) < 5 / 400
    assert abs(float(x.var()) - 1) < 5 * math.sqrt(2) / 400
    assert abs(float((x[1:] * x[:-1]).mean())) < 5 / 399


def test_uniform_numbers_fill_0_to_1() -> None:
    x = draws(list(range(200))).uniform((200,)).double()
    assert float(x.min()) >= 0
    assert float(x.max()) < 1
    assert abs(float(x.mean()) - 0.5) < 5 / math.sqrt(12) / 200


@pytest.mark.parametrize("n", [0, 1, 7, 100])
def test_a_permutation_has_every_number_once(n) -> None:
    found = draws([4, 5]).permutation(n)
    assert found.sort(dim=1).values.tolist() == [list(range(n))] * 2
    assert n < 7 or not torch.equal(found[0], found[1])
    assert sorted(order(n, seed=0, purpose="p").tolist()) == list(range(n))


def test_permutations_are_even() -> None:
    first = draws(list(range(3000))).permutation(5)[:, 0]
    counts = torch.bincount(first, minlength=5).double()
    # Five standard deviations of a binomial count.
    assert float((counts - 600).abs().max()) < 5 * math.sqrt(3000 * 0.2 * 0.8)


def test_the_order_of_a_data_set_never_changes() -> None:
    assert order(6, seed=0, purpose="a").tolist() == [3, 5, 0, 4, 2, 1]


def test_order_depends_on_seed_purpose_and_epoch() -> None:
    base = order(50, seed=0, purpose="a")
    assert torch.equal(base, order(50, seed=0, purpose="a", epoch=0))
    for other in ({"seed": 1, "purpose": "a"}, {"seed": 0, "purpose": "b"}):
        assert not torch.equal(base, order(50, **other))
    assert not torch.equal(base, order(50, seed=0, purpose="a", epoch=1))


def test_no_rows_draw_nothing() -> None:
    assert draws([]).normal((2, 3)).shape == (0, 2, 3)
    assert draws([]).uniform().shape == (0,)
    assert draws([]).permutation(4).shape == (0, 4)


def test_borrowing_seeds_the_global_generator_and_puts_it_back() -> None:
    torch.manual_seed(7)
    wanted = torch.rand(4)
    torch.manual_seed(7)
    with seeds.borrowed(0, "lora"):
        inside = torch.rand(4)
    with seeds.borrowed(0, "lora"):
        assert torch.equal(torch.rand(4), inside)
    with seeds.borrowed(1, "lora"):
        assert not torch.equal(torch.rand(4), inside)
    assert torch.equal(torch.rand(4), wanted)


def test_borrowing_puts_the_generator_back_after_an_error() -> None:
    torch.manual_seed(7)
    wanted = torch.rand(4)
    torch.manual_seed(7)
    with pytest.raises(KeyError), seeds.borrowed(0, "lora"):
        raise KeyError
    assert torch.equal(torch.rand(4), wanted)
