"""Runs that are watched: what is kept of evaluations, a reward that is cheated, and early ends."""

import json
import math

import pytest

from tests.runs import RECIPES
from tests.train_here import recipe, train_here
from zoo.recipe.errors import RecipeError
from zoo.rollout import Weights
from zoo.run import checkpoint
from zoo.run.record import ranking, read_run
from zoo.training.build import build
from zoo.training.looks import MEASURES
from zoo.training.state import Progress, restore

SHORT = {
    "epochs": 4, "data__groups_per_epoch": 4, "data__group_size": 4, "sampler__steps": 3,
    "optim__updates_per_epoch": 2, "eval__images_per_prompt": 2, "eval__steps": 2,
    "eval__every": 1, "checkpoint__every": 100, "engine__micro_batch__sample": 16,
}  # fmt: skip


def train(out, **changes):
    made = recipe(RECIPES["nft"], **{**SHORT, **changes})
    out.mkdir(parents=True)
    (out / "recipe.json").write_text(json.dumps(made.resolved()))
    return train_here(made, out)


@pytest.mark.slow
def test_an_evaluation_says_what_is_held_out_and_what_is_trained(tmp_path):
    lines = train(tmp_path / "run", epochs=1)
    record = read_run(tmp_path / "run")
    assert record.rewards == {"digit": True, "judge": False}
    assert [each.epoch for each in record.evaluations] == [0, 1]
    for line, evaluation in zip(lines, record.evaluations, strict=True):
        assert line["monitor/trained"] == line["eval/digit"]
        assert line["monitor/held_out"] == line["eval/judge"]
        for label in ("digit", "judge"):
            scores = evaluation.scores[label]
            assert sum(scores) / len(scores) == pytest.approx(line[f"eval/{label}"], abs=1e-5)
            assert line[f"eval_error/{label}"] > 0
        assert 0 < line["monitor/diversity"] < 1
        assert 0 < line["monitor/similarity"] < 1
        assert 0 < line["monitor/saturated"] < 1
        assert 0 < line["collected/diversity"] < 1
        for measure in MEASURES:
            assert line[f"monitor/{measure}"] > 0
            assert line[f"monitor_std/{measure}"] > 0
            assert line[f"collected/{measure}"] > 0
        assert len(evaluation.shown_prompts) == 10
        assert evaluation.kinds.text == tuple(range(10))
        assert evaluation.kinds.tag == (None,) * 10
        assert evaluation.shown_rows == 2
    assert lines[0]["monitor/drift"] == 0
    assert lines[1]["monitor/drift"] > 0
    assert record.end.reason == "epochs"
    assert [probe.holds for probe in record.probes] == [True] * 3


@pytest.mark.slow
def test_weights_are_those_of_training_and_of_the_evaluation(tmp_path):
    (line, *_) = train(
        tmp_path / "run", epochs=1, rewards="[{name: digit, weight: 2}]",
        eval__rewards="[{name: digit}, {name: diversity, weight: 3},"
        " {name: digit_judge, label: judge, weight: -1}]",
    )  # fmt: skip
    assert line["monitor/trained"] == pytest.approx(2 * line["eval/digit"])
    held_out = 3 * line["eval/diversity"] - line["eval/judge"]
    assert line["monitor/held_out"] == pytest.approx(held_out)


@pytest.mark.slow
def test_a_reward_that_is_run_otherwise_is_no_other_reward(tmp_path):
    (tmp_path / "reward.py").write_text("def a(i, p): return i.flatten(1).mean(1)\nb = a\n")
    path = f"{tmp_path}/reward.py"
    train(
        tmp_path / "run", epochs=1,
        rewards=f"[{{name: jpeg_compressibility, quality: 9}}, {{name: python, path: '{path}:a'}}]",
        eval__rewards=f"[{{name: jpeg_compressibility}}, {{name: python, path: '{path}:b'}}]",
    )  # fmt: skip
    found = read_run(tmp_path / "run").rewards
    assert found == {"jpeg_compressibility": True, "python": False}


@pytest.mark.slow
def test_without_held_out_rewards_the_trained_ones_say_what_is_best(tmp_path):
    lines = train(tmp_path / "run", epochs=1, eval__rewards="[]")
    assert "monitor/held_out" not in lines[0]
    assert lines[0]["monitor/trained"] == lines[0]["eval/digit"]


LEFT = "images have left the range of those before training"

CHEATED = """
def white(images, prompts):
    '''A trick: the whiter, the better.'''
    return images.flatten(1).mean(1)
"""


def test_a_reward_that_is_cheated_is_warned_of_with_the_pictures(tmp_path):
    (tmp_path / "reward.py").write_text(CHEATED)
    lines = train(
        tmp_path / "run", epochs=8, eval__every=4, optim__lr=1e-2, eval__images_per_prompt=8,
        rewards=f"[{{name: python, path: '{tmp_path}/reward.py:white', label: white}}]",
        eval__rewards=f"[{{name: python, path: '{tmp_path}/reward.py:white', label: white}},"
        " {name: digit_judge, label: judge}]",
    )  # fmt: skip
    assert lines[-1]["eval/white"] > lines[0]["eval/white"] + 0.05
    assert lines[-1]["eval/judge"] < lines[0]["eval/judge"] - 0.05
    said = [text for text in read_run(tmp_path / "run").warnings if "has risen" in text]
    assert said
    assert "the trained reward 'white' has risen" in said[-1]
    assert "the held-out 'judge' has fallen" in said[-1]
    pictures = list((tmp_path / "run" / "images").glob("parted_*.png"))
    assert pictures
    assert any(str(picture) in text for picture in pictures for text in said)
    left = [text for text in read_run(tmp_path / "run").warnings if LEFT in text]
    # It left by the first evaluation and is not told again, though it stays out.
    assert "brightness is" in left[0]
    assert not any("brightness" in text for text in left[1:])
    picture = tmp_path / "run" / "images" / "left_000004.png"
    assert picture.is_file()
    assert str(picture) in left[0]


@pytest.mark.slow
def test_an_honest_run_leaves_no_range(tmp_path):
    train(tmp_path / "run", epochs=4, eval__every=2, optim__lr=3e-4)
    assert not any(LEFT in text for text in read_run(tmp_path / "run").warnings)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["nft", "flow_grpo"])
def test_the_shipped_digits_recipes_leave_no_range(algorithm, tmp_path):
    made = recipe(RECIPES[algorithm])
    (tmp_path / "recipe.json").write_text(json.dumps(made.resolved()))
    train_here(made, tmp_path)
    record = read_run(tmp_path)
    assert record.metrics[-1]["eval/judge"] > 0.9
    assert not any(LEFT in text for text in record.warnings)


@pytest.mark.slow
def test_the_best_evaluation_is_saved_and_stays(tmp_path):
    lines = train(tmp_path / "run", epochs=6, checkpoint__keep=1)
    scores = [line["eval/judge"] for line in lines]
    best = max(range(1, 7), key=lambda epoch: (scores[epoch], -epoch))
    if scores[0] >= scores[best]:
        best = 6  # nothing is better than the start: only the last is kept
    assert checkpoint.epochs(tmp_path / "run") == sorted({best, 6})


@pytest.mark.slow
def test_the_best_is_not_saved_where_it_is_not_wanted(tmp_path):
    train(tmp_path / "run", epochs=6, checkpoint__keep=1, checkpoint__best="false")
    assert checkpoint.epochs(tmp_path / "run") == [6]


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(
    ("condition", "epochs", "reason"),
    [
        ("{images: 33}", 3, "images"),
        pytest.param("{forwards: 1}", 1, "forwards", marks=pytest.mark.slow),
        pytest.param("{seconds: 1e-9}", 1, "seconds", marks=pytest.mark.slow),
        ("{target: {label: judge, at_least: -1}}", 1, "target"),
        pytest.param("{drift: 1e-9}", 1, "drift", marks=pytest.mark.slow),
        pytest.param("{target: {label: judge, at_least: 2}}", 4, "epochs", marks=pytest.mark.slow),
    ],
)
def test_a_condition_ends_the_run_evaluated_and_saved(condition, epochs, reason, tmp_path):
    lines = train(tmp_path / "run", stop_when=condition)
    assert [line["epoch"] for line in lines] == list(range(epochs + 1))
    assert "eval/judge" in lines[-1]
    assert checkpoint.latest(tmp_path / "run").name == f"{epochs:06}"
    end = read_run(tmp_path / "run").end
    assert (end.epoch, end.reason) == (epochs, reason)


@pytest.mark.slow
def test_a_budget_that_is_spent_between_evaluations_is_evaluated(tmp_path):
    lines = train(tmp_path / "run", eval__every=100, stop_when="{images: 20}")
    assert ["eval/judge" in line for line in lines] == [True, False, True]


@pytest.mark.slow
def test_what_is_watched_goes_on_from_a_checkpoint(tmp_path):
    lines = train(tmp_path / "run", epochs=3)
    run = build(recipe(RECIPES["nft"], **{**SHORT, "epochs": 3}), resumed=True)
    progress, _ = restore(run, checkpoint.latest(tmp_path / "run"))
    scores = [line["eval/judge"] for line in lines]
    assert progress.watched.best == max(scores)
    assert progress.watched.best_epoch == scores.index(max(scores))
    assert progress.num_images == 3 * 16
    assert Progress().watched.best_epoch is None
    assert math.isnan(Progress().watched.best)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(
    ("objective", "changes", "kept"),
    [
        # Its reference moves.
        ("dpo", {"eval__drift": "true", "objective__pairs_per_group": 1}, True),
        ("nft", {"stop_when": "{drift: 9}", "objective__kl_weight": 0}, True),
        ("nft", {"eval__drift": "true"}, False),  # its reference is the base
        ("nft", {"eval__drift": "true", "policy__lora": "{rank: 4, alpha: 8}"}, False),
    ],
)
def test_a_run_that_is_asked_for_its_drift_has_it(objective, changes, kept, tmp_path):
    own = {**SHORT, "policy__lora": "null", "optim__lr": 1e-3, "epochs": 2, "seed": 3, **changes}
    made = recipe(RECIPES[objective], **own)
    run = build(made)
    assert run.model.policy.weights.has(Weights.BASE) == kept
    assert Weights.BASE not in run.model.copies  # no checkpoint has it
    drifts = [line["monitor/drift"] for line in train_here(made, tmp_path)]
    assert drifts[0] == 0
    assert 0 < drifts[1] < drifts[2]


@pytest.mark.slow
def test_full_fine_tuning_keeps_no_base_that_it_is_not_asked_for(tmp_path):
    lines = train(tmp_path / "run", policy__lora="null", objective__kl_weight=0, epochs=1)
    assert all("monitor/drift" not in line for line in lines)


@pytest.mark.slow
def test_a_target_that_no_reward_records_is_refused_before_the_first_update(tmp_path):
    known = "{target: {label: judge/distance_to_data, at_least: 99}}"
    train(tmp_path / "known", epochs=1, stop_when=known)
    with pytest.raises(RecipeError, match=r"'judge/distance', which evaluations do not score; did"):
        train(tmp_path / "run", stop_when="{target: {label: judge/distance, at_least: 1}}")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


OTHER_PROMPTS = """[
    {epochs: 2},
    {epochs: 1, data: {eval: 'builtin:digits/train'}},
    {epochs: 1, data: {eval: 'builtin:digits/train'}, eval: {rewards: [{name: diversity}]}},
]"""


@pytest.mark.slow
def test_the_best_is_of_evaluations_that_can_be_compared(tmp_path):
    lines = train(tmp_path / "run", stages=OTHER_PROMPTS, checkpoint__keep=9)
    assert [line.get("monitor/compared_since") for line in lines] == [None, None, None, 3, 4]
    run = build(recipe(RECIPES["nft"], **SHORT, stages=OTHER_PROMPTS), resumed=True)
    for epoch, best in ((3, 3), (4, 4)):
        progress, _ = restore(run, checkpoint.folder_of(tmp_path / "run", epoch))
        assert progress.watched.best_epoch == best
    ranked = ranking(tmp_path / "run")
    assert [each.is_comparable for each in ranked.evaluations] == [False] * 4 + [True]
    assert ranked.best.epoch == 4
