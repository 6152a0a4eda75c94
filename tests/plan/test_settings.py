"""Which settings `zoo init` takes, given what a dry run says of the smallest micro-batches."""

import pytest
import torch

from zoo.plan import settings as settings_module
from zoo.plan.footprint import Footprint
from zoo.plan.layout import SPARE, Layout
from zoo.plan.reward_bytes import RewardBytes
from zoo.plan.settings import Machine, NothingFitsError, find_fit

GB = 10**9


def numbers(gigabytes, dtype):
    return torch.empty(int(gigabytes * GB) // dtype.itemsize, device="meta", dtype=dtype)


def a_footprint(*, network, trained=0.1, training, sampling=1.0, encoders=0.0):
    """In GB; `network` is frozen, in bfloat16, in ten pieces."""
    return Footprint(
        outside=0, encoders=int(encoders * GB),
        frozen=tuple(numbers(network / 10, torch.bfloat16) for _ in range(10)),
        trained=(numbers(trained, torch.float32),), copies=(), rewards=RewardBytes(),
        building=0, sampling=int(sampling * GB), training=int(training * GB), evaluating=None,
        remembered=0, accumulates=True, flops=10**15, dtype=torch.bfloat16, trains="LoRA",
    )  # fmt: skip


@pytest.fixture
def dry_runs(monkeypatch):
    """Puts dry runs in the place of the real: by rows, and a quarter with activations twice."""

    def put(network, a_row):
        asked = []

        def footprint(settings, processes):
            asked.append((settings.sample, settings.train, settings.checkpointing))
            share = 0.25 if settings.checkpointing else 1.0
            return a_footprint(
                network=network, training=a_row * settings.train * share,
                sampling=0.1 * settings.sample,
            )  # fmt: skip

        monkeypatch.setattr(settings_module, "footprint", footprint)
        return asked

    return put


def found(memory, processes=1, most=(16, 8), *, cuda=True):
    machine = Machine(processes, int(memory * GB), cuda=cuda)
    fit = find_fit(lambda settings: settings, machine, most)
    assert fit.estimate.parts.total <= (1 - SPARE) * machine.memory
    return fit.settings


def test_a_large_card_takes_the_shipped_micro_batches_after_one_dry_run(dry_runs):
    asked = dry_runs(network=5, a_row=2)
    mine = found(80)
    assert (mine.sample, mine.train, mine.checkpointing, mine.layout) == (
        16,
        8,
        False,
        Layout(None),
    )
    assert asked == [(4, 2, False)]


def test_a_smaller_card_takes_smaller_micro_batches_before_it_computes_again(dry_runs):
    dry_runs(network=5, a_row=2)
    mine = found(20)
    assert (mine.train, mine.checkpointing) == (4, False)


def test_a_small_card_computes_activations_again_where_few_rows_would_fit(dry_runs):
    asked = dry_runs(network=5, a_row=4)
    mine = found(16)
    assert (mine.train, mine.checkpointing, mine.layout) == (8, True, Layout(None))
    assert asked == [(4, 2, False), (4, 2, True)]


def test_the_last_resort_is_one_row(dry_runs):
    asked = dry_runs(network=5, a_row=40)
    mine = found(20, cuda=False)
    assert (mine.train, mine.checkpointing) == (1, True)
    assert asked[-1] == (1, 1, True)


def test_a_network_larger_than_a_card_is_cut_in_pieces_on_several(dry_runs):
    dry_runs(network=24, a_row=1)
    mine = found(24, processes=8)
    assert mine.layout.stage == 3
    assert mine.layout.offload in ("none", "optimizer", "parameters")


def test_on_one_card_nothing_is_cut_in_pieces_but_what_the_host_keeps(dry_runs):
    dry_runs(network=24, a_row=1)
    assert found(24).layout == Layout(3, "parameters")


def test_no_micro_batch_is_larger_than_the_shipped(dry_runs):
    asked = dry_runs(network=0.1, a_row=0.01)
    mine = found(80, most=(2, 1), cuda=False)
    assert asked == [(2, 1, False)]
    assert (mine.sample, mine.train) == (2, 1)


def test_where_nothing_fits_it_says_what_would(dry_runs):
    dry_runs(network=24, a_row=8)
    with pytest.raises(NothingFitsError) as refused:
        find_fit(lambda settings: settings, Machine(1, 2 * GB, cuda=True), (16, 8))
    said = str(refused.value)
    assert said.startswith("nothing fits 2 GB a process: the least is ")
    assert "take more or larger GPUs" in said
