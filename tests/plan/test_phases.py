"""What is on the device in which phase: encoders come to encode, rewards may rest."""

import math
from dataclasses import replace

import pytest

from tests.runs import RECIPES
from tests.train_here import recipe
from zoo import devices
from zoo.devices import host_pieces
from zoo.plan.footprint import footprint
from zoo.plan.layout import Layout, MemoryParts, layouts
from zoo.plan.live_bytes import num_bytes
from zoo.plan.memory import estimate
from zoo.plan.reward_bytes import RewardBytes, reward_bytes
from zoo.policy import weight_copies
from zoo.reward.base import NetworkBytes
from zoo.reward.digits import Digit, DigitJudge
from zoo.rollout import Weights
from zoo.training.build import build

GB = 10**9
REWARDS = RewardBytes(stay=1 * GB, trained=2 * GB, evaluated=4 * GB, resting=5 * GB, on_host=7 * GB)


@pytest.fixture(scope="module")
def found():
    made = footprint(recipe(RECIPES["nft"], sampler__steps=2), 1)
    return replace(made, encoders=11 * GB, rewards=REWARDS)


def in_gb(parts: MemoryParts) -> tuple[int, int, int]:
    """Encoders and rewards on the device, and what is on the host."""
    return tuple(round(number / GB) for number in (parts.encoders, parts.rewards, parts.host))


@pytest.mark.slow
def test_beside_a_gpu_they_come_and_go(found):
    phases = estimate(found, Layout(None), 1, cuda=True).phases
    assert list(phases) == [
        "loading", "encoding", "collecting", "scoring", "training", "update", "evaluating"
    ]  # fmt: skip
    assert in_gb(phases["encoding"]) == (11, 1, 12)
    assert in_gb(phases["scoring"]) == (0, 3, 21)
    assert in_gb(phases["evaluating"]) == (0, 5, 19)
    for phase in ("loading", "collecting", "training", "update"):
        assert in_gb(phases[phase]) == (0, 1, 23), phase
    assert estimate(found, Layout(None), 1, cuda=True).phase == "encoding"


@pytest.mark.slow
def test_on_the_cpu_all_of_them_are_always_there(found):
    for layout in layouts(cuda=False):
        phases = estimate(found, layout, 2).phases
        assert {in_gb(parts) for parts in phases.values()} == {(11, 13, 0)}, layout


def test_a_stage_of_zero_divides_neither(found):
    for layout in layouts(cuda=True):
        phases = estimate(found, layout, 8, cuda=True).phases
        assert in_gb(phases["encoding"])[:2] == (11, 1), layout
        assert in_gb(phases["training"])[:2] == (0, 1), layout
        assert all(parts.autoencoder == found.outside for parts in phases.values())


def test_a_network_that_is_to_be_cut_waits_on_the_host(found):
    whole, cut = (
        estimate(found, layout, 8, cuda=True).phases["loading"] for layout in (Layout(2), Layout(3))
    )
    assert whole.host == 23 * GB
    assert cut.host == 23 * GB + whole.network + whole.copies + whole.buffers
    assert cut.network < whole.network / 2
    # Where the device's memory is the host's it is the same.
    assert estimate(found, Layout(3), 8).phases["loading"].network == whole.network


@pytest.mark.slow
def test_copies_on_the_host_take_the_pieces_that_are_asked_for(monkeypatch):
    options = {"policy": "{name: digits, lora: null, copies_on: cpu}", "sampler__steps": 2}
    of = footprint(recipe(RECIPES["nft"], **options), 1)
    asked = []

    def counted(shape, device):
        asked.append(4 * math.prod(shape))
        return devices.host_memory(shape, device)

    monkeypatch.setattr(host_pieces, "host_memory", counted)
    monkeypatch.setattr(weight_copies, "is_accelerator", lambda device: True)
    built = build(recipe(RECIPES["nft"], **options))
    on_host = built.model.policy.weights.parameters(Weights.OLD)
    assert sum(asked) > 2 * sum(p.numel() * p.itemsize for p in on_host.values())
    phases = estimate(of, Layout(None), 1, cuda=True).phases
    away = of.encoders + of.rewards.on_host
    assert phases["collecting"].host - away - of.rewards.resting == sum(asked)
    assert {parts.copies for parts in phases.values()} == {0}
    # On the CPU they are of their own size.
    assert estimate(of, Layout(None), 1).phases["collecting"].copies == num_bytes(of.copies)


@pytest.mark.slow
def test_without_an_evaluation_there_is_none():
    of = footprint(recipe(RECIPES["nft"], sampler__steps=2, eval="null"), 1)
    assert of.evaluating is None
    assert "evaluating" not in estimate(of, Layout(None), 1).phases


@pytest.mark.slow
def test_evaluating_holds_what_its_prompts_are_encoded_to():
    few, many = (
        footprint(recipe(RECIPES["nft"], data__eval=f"builtin:digits/{which}"), 1).evaluating
        for which in ("eval", "train")
    )
    assert many > few


def test_making_a_model_is_counted_as_the_loader_does_it(found):
    # The adapters are made in float32, as they stay; nothing is made and thrown away.
    assert found.building < 0.01 * estimate(found, Layout(None), 1).phases["loading"].network


@pytest.fixture
def sizes(monkeypatch):
    """Rewards of known sizes: of 3 and of 5."""
    monkeypatch.setattr(
        Digit, "network_bytes", lambda options: NetworkBytes(3, "resting"), raising=True
    )
    monkeypatch.setattr(DigitJudge, "network_bytes", lambda options: NetworkBytes(5), raising=True)


def test_a_reward_counts_once_however_often_it_is_named(sizes):
    rewards = "[{name: digit}, {name: digit, label: again, weight: 0.5}]"
    made = recipe(RECIPES["nft"], rewards=rewards, eval__rewards="[{name: digit_judge}]")
    assert reward_bytes(made, made) == RewardBytes(stay=5, trained=3, resting=3)


def test_those_of_all_stages_are_loaded_and_a_stage_scores_with_its_own(sizes):
    made = recipe(
        RECIPES["nft"],
        epochs=2,
        rewards="[{name: digit_judge}]",
        eval="null",
        stages="[{epochs: 1}, {epochs: 1, rewards: [{name: digit}]}]",
    )
    first, second = (reward_bytes(made, stage.recipe) for stage in made.timeline)
    assert first == RewardBytes(stay=5, trained=0, resting=3)
    assert second == RewardBytes(stay=5, trained=3, resting=3)


@pytest.mark.slow
def test_one_that_does_not_say_is_named(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def score(images, prompts): ...\n")
    made = recipe(RECIPES["nft"], rewards=f"[{{name: python, path: '{path}:score', label: mine}}]")
    assert reward_bytes(made, made).unknown == ("mine",)
    assert footprint(made, 1).unknown == ("the reward 'mine'",)
