"""A run's own evaluation: the names of its metrics, and what tags add to them."""

import json
from pathlib import Path

import pytest
import torch

from tests.runs import RECIPES
from tests.train_here import images_of, recipe
from zoo.run.tracker import Tracker
from zoo.training.build import build
from zoo.training.evaluate import evaluate
from zoo.training.monitor import evaluate_run

WORDS = ("zero", "one", "two", "three", "four")
SHORT = {
    "eval__steps": 2, "eval__images_per_prompt": 3, "engine__micro_batch__sample": 6,
    "data__groups_per_epoch": 2, "data__group_size": 2, "sampler__steps": 2,
}  # fmt: skip


@pytest.fixture
def sources(tmp_path):
    """The same prompts with tags and without."""
    files = {}
    for name in ("tagged", "plain"):
        lines = []
        for digit, word in enumerate(WORDS):
            tag = {"tag": "round" if digit in (0, 3) else "straight"} if name == "tagged" else {}
            lines.append(json.dumps({"prompt": f"the digit {word}", "digit": digit, **tag}))
        files[name] = tmp_path / f"{name}.jsonl"
        files[name].write_text("\n".join(lines))
    return files


def test_tags_add_names_and_change_no_number(sources):
    found = {}
    for name, source in sources.items():
        run = build(recipe(RECIPES["nft"], **SHORT, data__eval=source)).stages[0]
        found[name] = evaluate_run(run, Tracker(Path())).result
    plain, tagged = found["plain"].metrics, found["tagged"].metrics
    assert plain.keys() == {
        "eval/digit", "eval/judge", "eval/judge/distance_to_data",
    }  # fmt: skip
    assert tagged | plain == tagged
    added = {f"{name}/{tag}" for name in plain for tag in ("round", "straight", "mean_of_tags")}
    assert tagged.keys() - plain.keys() == added

    digit = found["tagged"].scores["digit"].reshape(5, 3).mean(1)
    by_tag = digit[[0, 3]].mean(), digit[[1, 2, 4]].mean()
    assert tagged["eval/digit/round"] == pytest.approx(float(by_tag[0]))
    assert tagged["eval/digit/straight"] == pytest.approx(float(by_tag[1]))
    assert tagged["eval/digit/mean_of_tags"] == pytest.approx(float(sum(by_tag)) / 2)
    overall = found["tagged"].summaries["digit"].overall
    assert overall.standard_error == pytest.approx(float(digit.std()) / 5**0.5)


def test_every_image_is_seen_once_under_its_key_and_as_it_is_shown(sources):
    changes = {**SHORT, "engine__micro_batch__sample": 4, "data__eval": sources["plain"]}
    share = build(recipe(RECIPES["nft"], **changes)).stages[0].evaluator.shard()
    seen = {}
    made = evaluate(share, images_of(share.generate(), seen))
    assert sorted(seen) == list(range(15))
    # A column a prompt: image 2 of prompt 3 stands in row 2.
    shown = made.shown[2 * 5 + 3] / 255
    torch.testing.assert_close(shown, seen[3 * 3 + 2], rtol=0, atol=0.51 / 255)


def test_a_recipe_without_an_evaluation_has_none():
    run = build(recipe(RECIPES["nft"], **SHORT, eval="null")).stages[0]
    assert evaluate_run(run, Tracker(Path())) is None
