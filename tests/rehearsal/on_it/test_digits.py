"""Runs of the digits recipes: on the device their numbers are the CPU's."""

from tests.rehearsal.on_it.both import SHORT, rehearse
from tests.runs import RECIPES


def test_nft_has_the_same_numbers(tmp_path, traffic):
    rehearse(RECIPES["nft"], tmp_path, **SHORT)
    for phase in ("", "sampling", "generating", "collecting", "training"):
        print(phase, traffic.calls[phase], traffic.waits(phase), traffic.at(phase))
