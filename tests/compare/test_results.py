"""The numbers of a comparison, on runs whose curves cross targets at known places."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from zoo.compare.page_tables import verdict
from zoo.compare.results import (
    Comparison,
    Contender,
    FailedRun,
    as_json,
    at_cost,
    cost,
    cost_ratio,
    equal_cost,
    final,
    over_seeds,
)
from zoo.recipe.sections import ScoreTarget
from zoo.report.page import Table
from zoo.run.evaluations import EvaluationRecord
from zoo.run.record import RunRecord
from zoo.storage import files as json_file

TARGET = ScoreTarget(label="judge", at_least=0.8)


def run(*points, label="judge"):
    """A run that is evaluated at these forwards, with these scores."""
    lines = [{"epoch": 0, "reward": 0.1}] if not points else [
        {
            "epoch": i, "num_evals": x, "num_images": x / 10, "step": x / 5, "seconds": x / 100,
            "peak_memory_gb": 1.5, f"eval/{label}": y, "monitor/diversity": 1 - (y or 0) / 2,
        }
        for i, (x, y) in enumerate(points)
    ]  # fmt: skip
    evaluation = EvaluationRecord(0, 1, {label: False, "digit": True}, {}, (), 0)
    return RunRecord(Path("x"), {}, {"zoo": "1"}, tuple(lines), (evaluation,), (), ("hm",), None)


def comparison(**contenders):
    made = tuple(Contender(name, {}, dict(enumerate(runs))) for name, runs in contenders.items())
    return Comparison("c", "", {"forwards": 1000}, (0, 1, 2), made, (TARGET,), "zoo compare c.yaml")


# Straight lines: 0.8 at 100, 90, 120 forwards, and at 250, 200, 260.
FAST = [run((0, 0.0), (2 * at, 1.6)) for at in (100, 90, 120)]
SLOW = [run((0, 0.0), (at / 2, 0.4), (at, 0.8), (1000, 0.9)) for at in (250, 200, 260)]


def test_a_target_costs_what_the_curves_say_on_every_axis():
    fast, slow = comparison(fast=FAST, slow=SLOW).contenders
    assert cost(fast, TARGET, "forwards").value == pytest.approx(100)
    assert cost(slow, TARGET, "forwards").value == pytest.approx(250)
    found = cost_ratio(slow, fast, TARGET, "forwards")
    assert found.value == pytest.approx(2.5)
    assert (found.low, found.high) == (pytest.approx(200 / 120), pytest.approx(260 / 90))
    for axis, unit in (("seconds", 100), ("images", 10), ("steps", 5)):
        assert cost(slow, TARGET, axis).value == pytest.approx(250 / unit)
        assert cost_ratio(slow, fast, TARGET, axis).value == pytest.approx(2.5)


def test_a_seed_that_never_gets_there_is_counted_and_not_averaged():
    never = run((0, 0.0), (1000, 0.7))
    (some,) = comparison(some=[*SLOW[:2], never]).contenders
    found = cost(some, TARGET, "forwards")
    assert (found.value, found.num, found.num_finite) == (pytest.approx(250), 3, 2)
    assert found.high == math.inf


def test_scores_that_are_not_finite_are_left_out():
    broken = run((0, 0.0), (100, None), (200, 1.6))
    (one,) = comparison(one=[broken]).contenders
    assert cost(one, TARGET, "forwards").value == pytest.approx(100)
    assert final(one, "eval/judge").value == 1.6


def test_a_band_is_the_mean_and_the_range_of_seeds():
    (one,) = comparison(one=[run((0, 0.0), (10, 1.0)), run((0, 0.2), (10, 2.0))]).contenders
    band = over_seeds(one, "eval/judge", "forwards")
    assert (band.x, band.mean) == ((0.0, 10.0), (0.1, 1.5))
    assert (band.low, band.high) == ((0.0, 1.0), (0.2, 2.0))


def test_all_numbers_are_json_and_the_same_for_the_same_runs(tmp_path):
    made = comparison(fast=FAST, slow=SLOW, none=[])
    json_file.write(tmp_path / "a.json", as_json(made))
    json_file.write(tmp_path / "b.json", as_json(comparison(fast=FAST, slow=SLOW, none=[])))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    found = json.loads((tmp_path / "a.json").read_text())["contenders"]
    (target,) = found["slow"]["targets"]
    assert target["forwards"]["by_seed"] == {"0": 250, "1": 200, "2": 260}
    assert target["forwards"]["ratio_to_first"]["value"] == pytest.approx(2.5)
    assert found["none"]["targets"][0]["forwards"]["median"]["value"] is None
    assert found["slow"]["final"]["monitor/diversity"]["value"] == pytest.approx(0.55)
    assert found["slow"]["runs"]["0"]["warnings"] == ["hm"]
    assert len(found["fast"]["runs"]["1"]["evaluations"]) == 2


def test_a_contender_without_runs_stays_with_its_failures():
    failed = FailedRun(0, "no memory", "logs/x")
    none = Contender("none", {}, {}, (failed,))
    made = Comparison("c", "", {}, (0,), (Contender("a", {}, {0: FAST[0]}), none), (TARGET,), "x")
    found = as_json(made)["contenders"]["none"]
    assert found["failed"] == [{"seed": 0, "why": "no memory", "log": "logs/x"}]
    assert math.isnan(found["targets"][0]["forwards"]["ratio_to_first"]["value"])


def test_held_out_labels_come_first():
    assert comparison(one=FAST).labels == ["judge", "digit"]


def test_what_a_reward_says_besides_may_be_a_target():
    of = ScoreTarget(label="judge/mean_of_tags", at_least=0.8)
    tagged = run((0, 0.0), (100, 1.0), label="judge/mean_of_tags")
    one = Contender("one", {}, {0: replace(tagged, evaluations=FAST[0].evaluations)})
    made = Comparison("c", "", {}, (0,), (one,), (of,), "x")
    # Held out as the reward that it is of.
    assert made.labels[0] == "judge/mean_of_tags"
    assert not one.trains("judge/mean_of_tags")
    assert one.trains("digit/anything")
    assert cost(one, of, "forwards").value == pytest.approx(80)


def test_scores_by_kind_of_prompt_are_a_table_of_their_own():
    line = {
        "eval/judge": 0.4, "eval/judge/colors": 0.25, "eval/judge/position": 0.5,
        "eval/judge/mean_of_tags": 0.375, "eval/judge/accuracy": 0.4,
        "eval/judge/accuracy/colors": 1.0, "eval/judge/accuracy/mean_of_tags": 1.0,
    }  # fmt: skip
    one = replace(FAST[0], metrics=({"epoch": 0, "num_evals": 0, **line},))
    made = Comparison("c", "", {}, (0,), (Contender("one", {}, {0: one}),), (), "x")
    tables = [block for block in verdict(made).blocks if isinstance(block, Table)]
    (table,) = (each for each in tables if "by kind of prompt" in each.caption)
    assert table.head == ("contender", "colors", "position", "mean_of_tags")
    assert [cell.split()[0] for cell in table.rows[0]] == ["one", "0.250", "0.500", "0.375"]


def test_scores_are_compared_where_all_have_spent_the_same():
    """At equal forwards, and at equal seconds where a contender's cost twice as many."""

    def twice_as_slow(one):
        lines = ({**line, "seconds": line["num_evals"] / 50} for line in one.metrics)
        return replace(one, metrics=tuple(lines))

    dear = [twice_as_slow(one) for one in FAST]
    both = comparison(slow=SLOW, dear=dear)
    # The shortest of dear ends at 180 forwards, or after 3.6 s; slow comes to 10 s.
    forwards, seconds = (equal_cost(both, "eval/judge", axis) for axis in ("forwards", "seconds"))
    assert (forwards, seconds) == (180, pytest.approx(3.6))
    slow, cheap = both.contenders
    by_hand = [0.4 + 0.4 * (180 - at / 2) / (at / 2) for at in (250, 200, 260)]
    assert at_cost(slow, "eval/judge", "forwards", forwards).value == pytest.approx(
        sum(by_hand) / 3
    )
    assert at_cost(slow, "eval/judge", "seconds", seconds).value > 0.8
    assert at_cost(cheap, "eval/judge", "seconds", seconds).value == pytest.approx(
        sum(0.8 * 180 / at for at in (100, 90, 120)) / 3
    )
    tables = [block for block in verdict(both).blocks if isinstance(block, Table)]
    (table,) = (table for table in tables if "all have spent the same" in table.caption)
    assert table.head == ("contender", "3.60 s", "180 forwards", "18 images", "36 steps")
    assert table.rows[1][1] == table.rows[1][2]
    numbers = as_json(both)["contenders"]["slow"]["at_equal"]["judge"]["forwards"]
    assert (numbers["spent"], numbers["num"]) == (180, 3)
