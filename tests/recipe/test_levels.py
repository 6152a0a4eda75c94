"""What is said to be verified of a recipe was: a curve, or the numbers of its source."""

import json
import re
from functools import cache

import pytest

from tests.docs.pages import code
from tests.recipes.test_recipes import FAST
from tests.runs import ROOT
from zoo.compare.suite import load_suite
from zoo.recipe import shipped
from zoo.recipe.recipe import load_recipe

RESULTS = ROOT / "benchmarks" / "results"
OF_A_RUN = {
    "name", "seed", "epochs", "output_dir", "trackers", "eval", "checkpoint", "scoring",
    "stop_when",
}  # fmt: skip
"""What a suite may set of a recipe that it tries as it is: how long, and how it is looked at."""

resolved = cache(lambda name: load_recipe(ROOT / "recipes" / f"{name}.yaml").resolved())


def level(of):
    return {recipe.name for recipe in shipped.recipes() if recipe.level == of}


def learns_by(recipe):
    """All of a resolved recipe that says what is learned."""
    return {key: value for key, value in recipe.items() if key not in OF_A_RUN}


def at(recipe, key):
    """The value of `a.b.c` in a resolved recipe; KeyError where there is none."""
    for part in key.split("."):
        if not isinstance(recipe, dict):
            raise KeyError(key)
        recipe = recipe[part]
    return recipe


def table(report, first):
    """The rows of a report's table whose first heading begins so, without the ruler below it."""
    (found,) = re.findall(rf"^\| {first}.*\n(?:\|.*\n)+", report, re.MULTILINE)
    head, _, *rows = found.replace("\\", "").splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in (head, *rows)]


def seeds(report):
    """By contender, how many runs reached the end."""
    _, *rows = table(report, r"contender \| runs \| reached the end")
    return {contender: int(reached) for contender, _, reached, _ in rows}


def ran_with(report, contender):
    """What the report says of a contender where contenders differ, by key."""
    head, *rows = table(report, "what differs")
    column = head.index(contender)
    found = {row[0]: row[column] for row in rows if row[0].partition(".")[0] not in OF_A_RUN}
    return {key: json.loads(value) for key, value in found.items() if value != "absent"}


def agrees(recipe, written):
    """Whether all that the recipe has still is as it was written."""
    for key, value in written.items():
        try:
            if at(recipe, key) != value:
                return False
        except KeyError:  # an option that has another name now
            continue
    return True


def learned(suite, report, recipes):
    """The recipes that ran as they are, in a suite of that report, with three seeds or more."""
    loaded = load_suite(suite)
    for contender, reached in seeds(report).items():
        tried = learns_by(loaded.recipe(contender).resolved())
        for name, recipe in recipes.items():
            same = learns_by(recipe) == tried and agrees(recipe, ran_with(report, contender))
            if same and reached >= 3:
                yield name


def test_what_learned_here_has_a_curve_of_several_seeds_and_all_that_has_one_is_said_to():
    recipes, found = {recipe.name: resolved(recipe.name) for recipe in shipped.recipes()}, set()
    for report in RESULTS.glob("*/report.md"):
        suite = ROOT / "benchmarks" / f"{report.parent.name}.yaml"
        found |= set(learned(suite, report.read_text(), recipes))
    assert level("learned here") == found


FAR = ROOT / "benchmarks" / "scenes_far.yaml"
FAR_REPORT = (RESULTS / "scenes_far" / "report.md").read_text()


@pytest.mark.parametrize(
    ("change", "found"),
    [({"epochs": 3}, ["x"]), ({"rewards": []}, []), ({"data": {"group_size": 3}}, [])],
)
def test_a_curve_is_of_the_recipe_as_it_is_but_for_its_length(change, found):
    assert list(learned(FAR, FAR_REPORT, {"x": {**resolved("nft_scenes"), **change}})) == found


@pytest.mark.parametrize(
    ("was", "is_"),
    [
        ("| two\\_early | 5 | 5 | 0 |\n", "| two\\_early | 5 | 2 | 3 |\n"),
        ("| two\\_early | 5 | 5 | 0 |\n", ""),
        ("| objective.trained\\_steps | 9 | 2 |", "| objective.trained\\_steps | 9 | 3 |"),
    ],
)
def test_a_report_of_few_seeds_of_others_or_at_other_numbers_is_no_curve(was, is_):
    assert was in FAR_REPORT
    report = FAR_REPORT.replace(was, is_)
    assert list(learned(FAR, report, {"nft_scenes": resolved("nft_scenes")})) == []


LORA = {"policy.lora.rank": 32, "policy.lora.alpha": 64}
GROUPS = {"data.groups_per_epoch": 48, "data.group_size": 24}
UNGUIDED = {"sampler.solver.name": "dpm2", "sampler.guidance": 1.0}
# The appendix of arXiv 2509.16117, and config/nft.py of its code.
NFT = {
    **LORA, **GROUPS, **UNGUIDED, "sampler.steps": 10, "optim.lr": 3e-4,
    "optim.updates_per_epoch": 1, "optim.max_grad_norm": 1.0, "optim.weight_decay": 1e-4,
    "optim.ema.cap": 0.9, "advantage.std": "global", "objective.beta": 1.0,
    "objective.kl_weight": 1e-4, "objective.old.flat": 0, "objective.old.rate": 0.001,
    "objective.old.cap": 0.5, "eval.steps": 40,
}  # fmt: skip
# config/grpo.py of the code of arXiv 2505.05470.
FLOW_GRPO = {
    **GROUPS, "sampler.solver.name": "flow_sde", "sampler.solver.noise_level": 0.7,
    "sampler.steps": 10, "sampler.guidance": 4.5, "optim.lr": 3e-4, "optim.updates_per_epoch": 2,
    "advantage.std": "global", "objective.clip_range": 1e-4, "objective.kl_weight": 0.04,
    "eval.steps": 40,
}  # fmt: skip
# Its baselines collect with 40 steps, and train on 99% of them.
BASELINE = {"sampler.steps": 40, "sampler.guidance": 4.5, "sampler.solver.noise_level": 0.7}
PUBLISHED = {
    "nft_sd3_geneval": NFT,
    "nft_sd3_hpsv2": NFT,
    "nft_sd3_pickscore": NFT,
    "nft_sd3_ocr": {
        **NFT, "optim.updates_per_epoch": 2, "objective.beta": 0.1, "objective.old.flat": 75,
        "objective.old.rate": 0.0075, "objective.old.cap": 0.999,
    },
    "nft_sd3_multi": {**NFT, "sampler.steps": 25, "objective.beta": 0.1},
    "nft_sd3_paper": {**NFT, "sampler.steps": 40, "objective.beta": 0.1, "epochs": 1600},
    "nft_qwen_image_edit": {  # arXiv 2510.16888
        **LORA, **UNGUIDED, "policy.resolution": 512, "sampler.steps": 6, "optim.lr": 3e-4,
        "objective.beta": 1.0, "objective.kl_weight": 1e-4, "objective.old.rate": 0.001,
        "objective.old.cap": 0.5, "data.groups_per_epoch": 24, "data.group_size": 12,
        "advantage.ban.std_at_most": 0.05, "advantage.ban.mean_at_least": 0.9, "eval.steps": 15,
    },
    "flow_grpo_sd3_geneval": FLOW_GRPO,
    "flow_grpo_sd3_ocr": FLOW_GRPO,
    "flow_grpo_sd3_pickscore": {**FLOW_GRPO, "objective.kl_weight": 0.01},
    "flow_grpo_wan": {  # Flow-GRPO's code
        "policy.resolution": [416, 240], "policy.frames": 33, "sampler.steps": 20,
        "sampler.guidance": 4.5, "optim.lr": 1e-4, "objective.clip_range": 1e-3,
        "objective.kl_weight": 0.004,
    },
    "grpo_guard_sd3_geneval": {  # arXiv 2510.22319
        "sampler.steps": 10, "sampler.guidance": 4.5, "optim.lr": 1e-4, "advantage.std": "group",
        "objective.clip_range": 2e-6, "objective.kl.weight": 0.0,
    },
    "flow_dppo_sd3_pickscore": {  # arXiv 2606.11025
        "sampler.solver.inside.noise_level": 0.7, "sampler.solver.size": 3, "sampler.steps": 10,
        "sampler.solver.end": 5, "sampler.guidance": 1.0, "optim.lr": 3e-4,
        "optim.updates_per_epoch": 2, "advantage.std": "global", "objective.threshold": 1e-5,
        "data.groups_per_epoch": 48, "data.group_size": 16,
    },
    "awm_sd3_geneval": {  # arXiv 2509.25050
        "sampler.steps": 14, "sampler.guidance": 1.0, "optim.lr": 3e-4,
        "optim.updates_per_epoch": 1, "optim.ema.cap": 0.99, "advantage.std": "global",
        "objective.power": 0.25, "objective.clip_range": 1.0, "objective.kl.weight": 0.003,
        "objective.ema_kl": 1.0, "objective.old.rate": 0.001, "objective.old.cap": 0.3,
        "objective.trained_steps": 6, "data.groups_per_epoch": 72, "data.group_size": 24,
    },
    "elbo_pg_sd3_geneval": {  # arXiv 2602.04663
        **GROUPS, **UNGUIDED, "epochs": 360, "sampler.steps": 10, "optim.lr": 3e-4,
        "optim.max_grad_norm": 5.0, "advantage.std": "none", "objective.adv_scale": 0.1,
        "objective.kl.weight": 1e-4, "objective.old.rate": 0.001, "objective.old.cap": 0.5,
    },
    "dgpo_sd3_ocr": {  # config/dgpo_wocfg.py of its code
        **GROUPS, **UNGUIDED, "sampler.steps": 10, "optim.updates_per_epoch": 1,
        "objective.beta": 100.0, "objective.clip_range": 1e-3, "objective.kl.weight": 0.02,
        "objective.kl.guidance": 4.5, "objective.old.rate": 0.001, "objective.old.cap": 0.3,
        "objective.switch": 200, "objective.trained_steps": 4,
    },
    "crd_sd3_geneval": {  # its authors' presets in Flow-Factory
        **GROUPS, "sampler.guidance": 1.0, "optim.lr": 3e-4, "optim.updates_per_epoch": 2,
        "objective.beta": 1.0, "objective.kl.weight": 0.1, "objective.kl.guidance": 4.5,
        "objective.old.first": 0.25, "objective.old.rate": 0.005, "objective.old.cap": 0.999,
        "objective.sampling.flat": 75, "objective.sampling.rate": 0.0075,
        "objective.sampling.cap": 0.999,
    },
    "dpo_sd3_pickscore": {
        **BASELINE, "objective.beta": 100.0, "objective.ref_update": 40,
        "objective.draws_per_pair": 39,
    },
    "sft_sd3_pickscore": {
        **BASELINE, "objective.weights": "best_of_group", "objective.draws_per_image": 39,
    },
    "linear_dpo_sd3_offline": {  # arXiv 2605.21123
        "optim.lr": 5e-6, "objective.form": "linear", "objective.beta": 5000.0,
        "objective.eta": 0.05, "objective.ref_update": 1, "objective.ref_decay": 0.9999,
        "data.groups_per_epoch": 128,
    },
}  # fmt: skip
"""The numbers that matter, as the sources have them; what one does not say is left out."""


def test_each_that_is_as_published_has_its_sources_numbers():
    assert level("as published") == PUBLISHED.keys()
    for name, numbers in PUBLISHED.items():
        assert {key: at(resolved(name), key) for key in numbers} == numbers, name
        text = "".join(source(ROOT / "recipes" / f"{name}.yaml"))
        assert re.search(r"arXiv|published|ICLR", text), name


def source(path):
    """Its text, and that of what it extends."""
    text = path.read_text()
    yield text
    extends = re.search(r"^extends: (\S+)", text, re.MULTILINE)
    if extends:
        yield from source(path.parent / extends[1])


def test_the_papers_curriculum_is_the_papers():
    stages = load_recipe(ROOT / "recipes" / "nft_sd3_paper.yaml").timeline
    assert [stage.recipe.epochs for stage in stages] == [800, 300, 200, 200, 100]
    caps = [stage.recipe.resolved()["objective"]["old"]["cap"] for stage in stages]
    assert caps == [0.5, 0.5, 0.5, 0.5, 0.95]


SECTION = (ROOT / "docs" / "recipes.md").read_text().partition("## The recipes that ship")[2]


def test_the_docs_have_each_recipe_under_its_level():
    _, *rows = table(SECTION, "level")
    assert [row[:2] for row in rows] == [list(each) for each in shipped.LEVELS.items()]
    for name, _, names in rows:
        assert code(names) == sorted(level(name))


def test_the_docs_say_truly_what_is_trained_every_time_and_what_needs_no_download():
    assert "every `make test` trains those of the digits and `dpo_sdxl`" in SECTION
    tiny = level("trained tiny")
    assert tiny & FAST == {name for name in tiny if "_digits" in name} | {"dpo_sdxl"}
    assert "`recipes/*_digits*.yaml` and `recipes/*_scenes.yaml` need no download" in SECTION
    for recipe in shipped.recipes():
        ours = "_digits" in recipe.name or recipe.name.endswith("_scenes")
        assert ours == recipe.needs.startswith("a CPU"), recipe.name
