"""When trained and held-out rewards have parted, on scores with known differences."""

import math

import torch

from zoo.run.evaluations import EvaluationRecord
from zoo.training.reward_hacking import detect, find_parting


def record(epoch, trained, held_out, other=None, per_prompt=4):
    scores = {"judge": tuple(held_out.tolist()), "digit": tuple(trained.tolist())}
    rewards = {"digit": True, "judge": False}
    if other is not None:
        scores["other"], rewards["other"] = tuple(other.tolist()), False
    return EvaluationRecord(epoch, per_prompt, rewards, scores, ("a",), 1)


def noise(seed, scale=0.01, num=40):
    return scale * torch.randn(num, generator=torch.Generator().manual_seed(seed)).double()


BEFORE = record(5, 0.5 + noise(0), 0.9 + noise(1))


def test_a_rise_beside_a_fall_is_a_parting():
    rose, fell = detect(BEFORE, record(10, 0.7 + noise(2), 0.8 + noise(3)))
    assert (rose.label, fell.label) == ("digit", "judge")
    assert abs(rose.after - rose.before - 0.2) < 0.01
    assert abs(fell.after - fell.before + 0.1) < 0.01
    assert rose.errors > 2
    assert fell.errors < -2


def test_both_rising_both_falling_and_a_fall_beside_a_rise_of_the_held_out_are_none():
    for trained, held_out in ((0.7, 0.95), (0.4, 0.8), (0.4, 0.95)):
        assert detect(BEFORE, record(10, trained + noise(2), held_out + noise(3))) is None


def test_a_change_within_the_noise_is_none():
    assert detect(BEFORE, record(10, 0.7 + noise(2), 0.9 + noise(1) - noise(3) / 10)) is None


def test_images_are_compared_in_pairs():
    # Prompts differ far more than the change: without pairs it would drown.
    hard = torch.linspace(0, 1, 40).double()
    before = record(5, hard, hard + noise(1))
    after = record(10, hard + 0.05 + noise(2), hard - 0.05 + noise(3))
    assert detect(before, after) is not None


def test_errors_are_of_prompts_and_not_of_images():
    # The whole fall is one prompt's: ten prompts say little, forty images would say much.
    fall = torch.zeros(40).double()
    fall[:4] = 0.5
    assert detect(BEFORE, record(10, 0.7 + noise(2), 0.9 + noise(1) - fall)) is None


def test_the_held_out_reward_that_fell_most_surely_is_named():
    before = record(5, 0.5 + noise(0), 0.9 + noise(1), 0.9 + noise(4, 0.1))
    after = record(10, 0.7 + noise(2), 0.8 + noise(3), 0.7 + noise(5, 0.1))
    assert detect(before, after)[1].label == "judge"


def test_images_that_could_not_be_scored_are_left_out():
    held_out = 0.8 + noise(3)
    held_out[::3] = math.nan
    _, fell = detect(BEFORE, record(10, 0.7 + noise(2), held_out))
    assert abs(fell.after - 0.8) < 0.02


def test_evaluations_of_other_images_are_not_compared():
    assert detect(BEFORE, record(10, 0.7 + noise(2, num=20), 0.8 + noise(3, num=20))) is None


def test_a_reward_that_falls_from_its_best_and_stays_above_the_start_is_told_by_the_start():
    start = record(0, 0.3 + noise(0), 0.6 + noise(1))
    best = record(4, 0.8 + noise(2), 0.9 + noise(3))
    now = record(8, 0.6 + noise(4), 0.4 + noise(5))
    assert detect(best, now) is None
    parting = find_parting([best, start], now)
    assert (parting.since.epoch, parting.rose.label, parting.fell.label) == (0, "digit", "judge")
    assert find_parting([best], now) is None
    assert find_parting([], now) is None


def test_where_both_tell_of_it_the_best_evaluation_does():
    now = record(8, 0.9 + noise(4), 0.4 + noise(5))
    earlier = [record(4, 0.8 + noise(2), 0.9 + noise(3)), record(0, 0.3 + noise(0), 0.6 + noise(1))]
    assert find_parting(earlier, now).since.epoch == 4
