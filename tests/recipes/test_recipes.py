"""Every recipe that ships is valid, can be planned for any number of processes, and trains."""

import json
import math
from functools import cache

import pytest

from tests.engine.many_runs import run_all
from tests.runs import ROOT, metrics
from tests.train_here import train_here
from zoo.compare.suite import load_suite
from zoo.plan.geometry import plan
from zoo.recipe.component import components
from zoo.recipe.recipe import load_recipe, recipe_from
from zoo.reward.digits import DigitJudge
from zoo.reward.scenes.judge import ScenesJudge
from zoo.sampler.base import StoredImages

PATHS = sorted((ROOT / "recipes").rglob("*.yaml"))
SUITES = sorted((ROOT / "benchmarks").glob("*.yaml"))
JUDGES = (DigitJudge, ScenesJudge)
EACH = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
load = cache(load_recipe)
"""As it ships: nothing changes what was read."""


def test_there_are_recipes():
    assert len(PATHS) >= 4


@EACH
def test_a_recipe_is_named_as_its_file(path):
    assert load(path).name == path.stem


@EACH
def test_a_resolved_recipe_reads_back_as_the_same(path):
    once = load(path).resolved()
    assert recipe_from(once).resolved() == once


@EACH
@pytest.mark.parametrize("processes", [1, 3])
def test_a_recipe_can_be_planned(path, processes):
    for stage in load(path).timeline:
        planned_on(stage.recipe, processes)


def planned_on(made, processes):
    planned, alone = plan(made, processes), plan(made, 1)
    assert planned.images == made.data.groups_per_epoch * made.data.group_size
    # None: the solver makes as many as its data needs.
    assert planned.collect_forwards == alone.collect_forwards
    assert (planned.collect_forwards == 0) == issubclass(made.sampler.cls, StoredImages)
    for same in ("rows", "train_forwards", "gradient_forwards"):
        assert getattr(planned, same) == getattr(alone, same) != 0
    for batches, wanted in ((planned.sampling, planned.images), (planned.training, planned.rows)):
        assert 0 <= batches.filled < 1
        assert processes * batches.count * batches.rows * (1 - batches.filled) == pytest.approx(
            wanted
        )


@pytest.fixture(autouse=True)
def _weights_are_written_once(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def tiny(path):
    """The recipe as `--tiny` makes it, on the CPU."""
    changes = ["engine.device=cpu"]
    if path.stem == "nft_qwen_image_edit":
        # Its judge is a server.
        shown = "[{name: preservation}]"
        changes += [f"rewards={shown}", f"eval.rewards={shown}"]
    return load_recipe(path, changes, tiny=True)


@EACH
def test_lora_trains_without_zero(path):
    """It pays for full fine-tuning; of LoRA one recipe is there to try it."""
    made = load(path)
    # Of the small model the whole network is trained, in one process.
    assert (made.policy.options["lora"] is None) == path.stem.endswith("_scenes")
    assert (made.engine.zero_stage is not None) == (path.stem == "nft_digits_zero")


@EACH
def test_what_is_trained_is_evaluated(path):
    for stage in load(path).timeline:
        made = stage.recipe
        if not issubclass(made.sampler.cls, StoredImages):
            evaluated = {entry.measures for entry in made.eval.rewards}
            assert {entry.measures for entry in made.rewards} <= evaluated, stage.shown


@EACH
def test_no_recipe_trains_on_a_judge(path):
    for stage in load(path).timeline:
        assert judges_of(stage.recipe) == []


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_no_suite_trains_on_a_judge(path):
    suite = load_suite(path)
    for contender in suite.suite.contenders:
        for stage in suite.recipe(contender).timeline:
            assert judges_of(stage.recipe) == [], contender


def judges_of(recipe):
    """Where a judge is among what is trained on; not where it says at weight 0 what is gated."""
    gate = recipe.advantage.gate
    labels = gate.rewards if gate else ()
    gating = {("rewards", i) for i, entry in enumerate(recipe.rewards)
              if entry.weight == 0 and entry.label in labels}  # fmt: skip
    judges = [loc for loc, component in components(recipe) if issubclass(component.cls, JUDGES)]
    return [loc for loc in judges if loc[0] == "rewards" and loc not in gating]


@pytest.mark.parametrize(
    ("reward", "found"),
    [
        ("{name: digit}", []),
        ("{name: digit_judge}", [("rewards", 0)]),
        ("{name: nearest, by: {name: digit_judge}}", [("rewards", 0, "by")]),
    ],
)
def test_a_judge_is_found(reward, found):
    path = ROOT / "recipes" / "nft_digits.yaml"
    assert judges_of(load_recipe(path, [f"rewards=[{reward}, {{name: digit, label: x}}]"])) == found


# What they are made of, others are too.
FAST = {
    "awm_digits", "crd_digits", "dgpo_digits", "dpo_digits", "dpo_digits_offline", "dpo_sdxl",
    "elbo_pg_digits", "flow_dppo_digits", "flow_dppo_sd3_pickscore", "flow_grpo_digits",
    "gardo_digits", "grpo_guard_digits", "kto_digits", "kto_digits_offline", "linear_dpo_digits",
    "nft_digits_dopri5", "nft_digits_mixture", "nft_digits_multi", "nft_digits_stages",
    "nft_digits_zero",
    "nft_scenes", "nft_sd3_multi", "ram_digits", "sft_digits", "sft_digits_offline",
}  # fmt: skip
"""What is trained every time: a small set that has the parts of the others, but for ELSEWHERE."""


ELSEWHERE = {
    *(("rewards", name) for name in ("vlm_judge", "preservation", "smoothness", "motion")),
    *(("rewards", name) for name in ("geneval", "ocr", "clipscore")),
}
"""What has a whole run in the slow suite alone, and in the fast one tests of its own: what asks a
server, of which there is none here, and reads edited pictures or videos (tests/cli/test_videos.py);
detectors and readers, in their plugins."""


def parts(path):
    """What a recipe is made of: its components, and which of them train together."""
    resolved = load(path).resolved()
    core = tuple(resolved[kind]["name"] for kind in ("objective", "sampler"))
    staged, sharded = bool(resolved.get("stages")), resolved["engine"]["zero_stage"] is not None
    return {core, ("stages", staged), ("ZeRO", sharded), *names(resolved)}


def names(part, kind=""):
    """The components in a part of a resolved recipe."""
    if isinstance(part, list):
        return set().union(*(names(each, kind) for each in part))
    if not isinstance(part, dict):
        return set()
    own = {(kind, part["name"])} if "name" in part and kind not in ("", "stages") else set()
    return own.union(*(names(value, key) for key, value in part.items())) - ELSEWHERE


def test_what_any_recipe_is_made_of_is_in_one_that_is_trained_every_time():
    fast = set().union(*(parts(path) for path in PATHS if path.stem in FAST))
    assert {path.stem for path in PATHS} > FAST
    for path in PATHS:
        assert parts(path) <= fast, path.stem


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem not in FAST))
        for path in PATHS
    ],
)
def test_a_recipe_trains_tiny(path, tmp_path):
    made = tiny(path)
    if made.engine.zero_stage is None:
        lines = train_here(made, tmp_path)
    else:  # DeepSpeed needs processes of its own
        file = tmp_path / "tiny.json"
        file.write_text(json.dumps(made.resolved()), encoding="utf-8")
        run = {"recipe": str(file), "overrides": [], "out": str(tmp_path)}
        processes = 1 if made.engine.processes == "auto" else made.engine.processes
        run_all([run], processes, tmp_path / "runs", deepspeed=True)
        lines = metrics(tmp_path)
    assert made.epochs == max(2, len(made.stages or ()))
    assert [line["epoch"] for line in lines] == list(range(made.epochs + 1))
    last = made.timeline[-1]
    # An update without any signal is passed over: a random model writes no words.
    empty = sum(line.get("empty_updates", 0) for line in lines)
    assert lines[-1]["step"] + empty == last.run_updates
    for line in lines:
        # A reward's extras may be of nothing: how sure it is of the words, where there are none.
        # Of one image a prompt there is no diversity.
        numbers = {
            key: value
            for key, value in line.items()
            if key.count("/") < 2 and key != "monitor/diversity"
        }
        assert all(value is not None and math.isfinite(value) for value in numbers.values()), line
    labels = [entry.label for entry in last.recipe.rewards]
    judged = [entry.label for entry in (last.recipe.eval.rewards or last.recipe.rewards)]
    assert {f"reward/{label}" for label in labels} <= lines[-1].keys()
    assert {f"eval/{label}" for label in judged} <= lines[-1].keys()
    log = tmp_path / "run.log"
    assert not log.exists() or "probe failed" not in log.read_text()
    assert (tmp_path / "checkpoints").is_dir()
    assert list((tmp_path / "images").glob("*.[pw]*"))
