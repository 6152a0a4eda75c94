"""A run's own evaluation: the names of its metrics, and what tags add to them."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.runs import RECIPES
from tests.train_here import images_of, recipe
from tests.videos import CHANGES, FRAMES, register_videos
from zoo.run import pictures
from zoo.run.tracker import RunFiles, Tracker
from zoo.training.build import build
from zoo.training.evaluate import evaluate
from zoo.training.monitor import evaluate_run, record_evaluation
from zoo.training.state import Progress

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


@pytest.mark.parametrize(("tile", "kept"), [(4, [0, 1, 2]), (8, [])])
def test_videos_that_the_picture_shrinks_are_kept_at_their_own_size(
    tile, kept, monkeypatch, tmp_path
):
    register_videos(monkeypatch)
    monkeypatch.setattr(pictures, "_SHEET_TILE", tile)
    changes = {key.replace(".", "__"): value for key, value in CHANGES.items()}
    stage = build(recipe(RECIPES["nft"], **changes)).stages[0]
    with Tracker(tmp_path, [RunFiles(tmp_path)]) as tracker:
        evaluation = evaluate_run(stage, tracker)
        record_evaluation(evaluation, tracker, Progress())
    shown, whole = evaluation.result.shown, evaluation.result.whole
    assert shown.shape[-2:] == (min(tile, 8), min(tile, 8))
    assert list(whole) == kept
    names = [f"sample_000000_0{prompt}.webp" for prompt in kept]
    assert sorted(path.name for path in (tmp_path / "images").glob("sample_*")) == names
    for name in names:
        with Image.open(tmp_path / "images" / name) as video:
            assert (video.size, video.n_frames) == ((8, 8), FRAMES)
    made = json.loads((tmp_path / "evaluations" / "000000.json").read_text())["made"]
    assert (made["height"], made["width"], made["frames"]) == (8, 8, FRAMES)
    if kept:
        images = {}
        list(images_of(stage.evaluator.shard().generate(), images))
        assert torch.equal(whole[1], pictures.levels(images[2][None])[0])
