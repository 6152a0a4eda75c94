"""Stages of a recipe: what they may change, what each is, and what is refused with which line."""

from pathlib import Path

import pytest

from tests.runs import ROOT
from zoo.recipe.errors import RecipeError
from zoo.recipe.recipe import load_recipe, load_stage, recipe_from

RECIPE = f"""\
extends: {ROOT}/recipes/nft_digits.yaml
name: staged
epochs: 9
stages:
  - {{name: taste, epochs: 2}}
  - epochs: 4
    rewards: [{{name: digit}}, {{name: diversity, weight: 0.3}}]
    sampler:
      steps: 5
    objective: {{kl_weight: 0.0}}
    optim:
      updates_per_epoch: 2
  - epochs: 3
"""


@pytest.fixture(autouse=True)
def recipe_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE)


def with_stages(text, epochs=9):
    """A recipe whose stages begin on line 5."""
    head = RECIPE.replace("epochs: 9", f"epochs: {epochs}", 1).partition("  - ")[0]
    Path("r.yaml").write_text(head + text)


def refusals(*overrides, epochs=None):
    with pytest.raises(RecipeError) as raised:
        load_recipe("r.yaml", overrides, epochs)
    assert not any("\n" in line for line in raised.value.lines)
    return list(raised.value.lines)


def refusal(*overrides, epochs=None):
    (line,) = refusals(*overrides, epochs=epochs)
    return line


def labels(recipe):
    return [entry.label for entry in recipe.rewards]


def test_a_recipe_without_stages_is_its_only_stage():
    recipe = load_recipe("r.yaml", ["stages=null"])
    (stage,) = recipe.timeline
    assert stage.recipe is recipe
    assert (stage.start, stage.end, stage.index, stage.run_updates) == (0, 9, None, 36)


def test_a_stage_is_the_recipe_with_its_own_keys_over_it_and_not_over_the_stage_before():
    recipe = load_recipe("r.yaml")
    first, second, third = (stage.recipe for stage in recipe.timeline)
    assert [labels(each) for each in (first, second, third)] == [
        ["digit"],
        ["digit", "diversity"],
        ["digit"],
    ]
    assert second.sampler.options["steps"] == 5
    assert second.sampler.options["solver"] == first.sampler.options["solver"]
    assert (second.objective.options["kl_weight"], second.objective.options["beta"]) == (0.0, 0.1)
    assert (second.optim.updates_per_epoch, second.optim.lr) == (2, 3e-3)
    unstaged = load_recipe("r.yaml", ["stages=null"]).resolved()
    assert first.resolved() == unstaged | {"epochs": 2}
    assert third.resolved() == unstaged | {"epochs": 3}


def test_a_section_that_names_another_component_replaces_it():
    with_stages("  - {epochs: 9, sampler: {solver: {name: euler}}, eval: {solver: {name: heun}}}\n")
    (stage,) = load_recipe("r.yaml").timeline
    assert stage.recipe.sampler.options["solver"].name == "euler"
    assert stage.recipe.sampler.options["steps"] == 10
    assert stage.recipe.eval.solver.name == "heun"
    with_stages("  - {epochs: 9, eval: null}\n")
    assert load_recipe("r.yaml").timeline[0].recipe.eval is None


def test_stages_know_where_they_are_in_the_run():
    stages = load_recipe("r.yaml").timeline
    assert [(stage.start, stage.end) for stage in stages] == [(0, 2), (2, 6), (6, 9)]
    assert [stage.shown for stage in stages] == ["stage 0 (taste)", "stage 1", "stage 2"]
    assert {stage.run_updates for stage in stages} == {2 * 4 + 4 * 2 + 3 * 4}
    assert {stage.run_epochs for stage in stages} == {9}


def test_a_resolved_recipe_keeps_its_stages_and_reads_back_as_the_same():
    recipe = load_recipe("r.yaml")
    again = recipe_from(recipe.resolved())
    assert again.resolved() == recipe.resolved()
    pairs = zip(again.timeline, recipe.timeline, strict=True)
    assert all(mine.recipe.resolved() == theirs.recipe.resolved() for mine, theirs in pairs)
    assert recipe.resolved()["stages"][2] == {"name": None, "epochs": 3}


def test_overrides_change_one_stage_or_all_that_do_not_say_otherwise():
    recipe = load_recipe("r.yaml", ["stages.0.epochs=1", "stages.2.epochs=4", "sampler.steps=7"])
    assert [stage.end for stage in recipe.timeline] == [1, 5, 9]
    assert [stage.recipe.sampler.options["steps"] for stage in recipe.timeline] == [7, 5, 7]
    recipe = load_recipe("r.yaml", ["rewards=[{name: digit_judge}]", "stages.1.sampler.steps=3"])
    assert [labels(stage.recipe)[0] for stage in recipe.timeline] == [
        "digit_judge",
        "digit",
        "digit_judge",
    ]
    assert recipe.timeline[1].recipe.sampler.options["steps"] == 3
    recipe = load_recipe("r.yaml", ["stages.2.data.group_size=4"])
    assert [stage.recipe.data.group_size for stage in recipe.timeline] == [16, 16, 4]


def test_fewer_epochs_on_the_command_line_end_the_run_early_and_more_are_refused():
    for recipe in (load_recipe("r.yaml", (), 4), load_recipe("r.yaml", ["epochs=4"])):
        assert recipe.epochs == 4
        assert [stage.end for stage in recipe.timeline] == [2, 4, 4]
        # The learning rate goes as if the run went on, so that it can.
        assert recipe.timeline[0].run_updates == 28
        assert recipe_from(recipe.resolved()).resolved() == recipe.resolved()
    assert refusal(epochs=10) == (
        "-s epochs=10: epochs is 10, and the stages have 9 (2 + 4 + 3); write epochs: 9 or fewer, "
        "to end early, or change the epochs of a stage (stages.2.epochs)"
    )


def test_in_a_file_the_stages_sum_to_the_epochs():
    said = (
        "r.yaml:3: epochs is {}, and the stages have 9 (2 + 4 + 3); write epochs: 9, or change the "
        "epochs of a stage (stages.2.epochs)"
    )
    for wrong in (8, 10):
        Path("r.yaml").write_text(RECIPE.replace("epochs: 9", f"epochs: {wrong}"))
        assert refusal() == said.format(wrong)
        assert load_recipe("r.yaml", ["epochs=9"]).epochs == 9
    Path("r.yaml").write_text(RECIPE)
    assert refusal("stages.0.epochs=3").startswith("r.yaml:3: epochs is 9, and the stages have 10")


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    "text",
    [
        "policy: {name: digits}",
        "seed: 1",
        "stages: []",
        "checkpoint: {every: 1}",
        "output_dir: x",
        "trackers: []",
    ],
)
def test_what_is_of_the_whole_run_is_refused_in_a_stage(text):
    with_stages(f"  - {{epochs: 9, {text}}}\n")
    assert refusal().startswith(f"r.yaml:5: stages.0.{text.partition(':')[0]} is of the whole run")


@pytest.mark.slow
@pytest.mark.parametrize("text", ["ema: null", "warmup: 3", "betas: [0, 0]"])
def test_so_is_a_part_of_how_it_is_optimised(text):
    with_stages(f"  - {{epochs: 9, optim: {{{text}}}}}\n")
    said = f"r.yaml:5: stages.0.optim.{text.partition(':')[0]} is of the whole run"
    assert refusal().startswith(said)


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs: 9, objective: {name: dpo}", "stages.0: a stage goes on with the run's"),
        ("epochs: 9, optim: {lrr: 1}", "unknown key 'stages.0.optim.lrr'; did you mean 'lr'?"),
        ("name: a", "stages.0 needs 'epochs': a whole number >= 1"),
        ("epochs: 0", "stages.0.epochs must be a whole number >= 1, not 0"),
        ("epochs: 9, name: 3", "stages.0.name must be text at least 1 long or null, not 3"),
        ("epochs: 9, data: {group_size: 1}", "stages.0: data.group_size is 1"),
        ("epochs: 9, data: 3", "stages.0: data must be a mapping of"),
        ("epochs: 9, sampler: {guidance: 2}", "stages.0: sampler.guidance is 2"),
        (
            "epochs: 9, rewards: [{name: digit}, {name: digit}]",
            "stages.0: 2 rewards in rewards are called 'digit'",
        ),
        (
            "epochs: 9, optim: {updates_per_epoch: 200}",
            "stages.0: optim.updates_per_epoch is 200 and an epoch has 128 images",
        ),
    ],
)
def test_a_mistake_in_a_stage_is_said_with_its_line(text, said):
    with_stages(f"  - {{{text}}}\n")
    assert refusal().startswith(f"r.yaml:5: {said}")


def test_a_stage_is_a_mapping():
    with_stages("  - 3\n")
    assert refusal().startswith("r.yaml:5: stages.0 must be a mapping of name, epochs, not 3")


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (6, "engine:\n      processes: 2", "stages.0.engine is of the whole run"),
        (6, "rewrds: []", "unknown key 'stages.0.rewrds'; did you mean 'rewards'? allowed: name, "),
        (
            8,
            "rewards:\n      - {name: digit}\n      - {name: digt}",
            "stages.0: unknown reward 'digt'; did you mean 'digit'?",
        ),
        (
            7,
            "sampler:\n      solver: {name: dpm2, order: 3}",
            "stages.0: unknown key 'sampler.solver.order'",
        ),
    ],
)
def test_a_mistake_below_a_stage_s_first_line_is_said_with_its_own(line, text, said):
    with_stages(f"  - epochs: 9\n    {text}\n")
    assert refusal().startswith(f"r.yaml:{line}: {said}")


def test_what_is_of_the_whole_run_is_said_with_what_is_not():
    with_stages("  - {epochs: 9, seed: 1}\n")
    assert refusal().endswith(
        "; allowed: name, epochs, sampler, rewards, advantage, objective, data, optim, eval, "
        "scoring"
    )
    with_stages("  - {epochs: 9, optim: {eps: 1}}\n")
    assert refusal().endswith("; allowed: lr, schedule, updates_per_epoch, max_grad_norm")


SIZED = """\
extends: ROOT/recipes/nft_wan_pickscore.yaml
epochs: 9
policy: {frames: 9}
rewards: [{name: motion}]
stages:
"""


def sized(text):
    """A recipe of videos whose stages begin on line 6."""
    Path("r.yaml").write_text(SIZED.replace("ROOT", str(ROOT)) + text)


def test_a_stage_may_change_how_large_images_are():
    sized("  - {epochs: 4, policy: {frames: 5}}\n  - {epochs: 5, policy: {resolution: 256}}\n")
    recipe = load_recipe("r.yaml")
    wide = [832, 480]
    assert [stage.recipe.size for stage in recipe.timeline] == [
        {"resolution": tuple(wide), "frames": 5},
        {"resolution": 256, "frames": 9},
    ]
    assert recipe.timeline[0].recipe.policy.options["lora"] == recipe.policy.options["lora"]
    assert recipe_from(recipe.resolved()).resolved() == recipe.resolved()
    evaluated = load_recipe("r.yaml", ["eval.frames=33"])
    assert [stage.recipe.evaluated_size["frames"] for stage in evaluated.timeline] == [33, 33]
    assert evaluated.timeline[1].recipe.for_images().policy.options["frames"] == 33
    assert load_stage("r.yaml", 4).size["frames"] == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{epochs: 9, policy: {dtype: float32}}",
            "stages.0.policy.dtype is of the whole run, and a stage cannot change it; allowed: "
            "resolution, frames",
        ),
        ("{epochs: 9, policy: {name: sd3}}", "stages.0.policy.name is of the whole run"),
        ("{epochs: 9, policy: {frame: 5}}", "unknown key 'stages.0.policy.frame'; did you mean"),
        ("{epochs: 9, policy: {frames: 0}}", "stages.0: policy.frames must be a whole number >= 1"),
        ("{epochs: 9, policy: 3}", "stages.0: policy must be a mapping"),
        ("{epochs: 9, eval: {frames: 0}}", "stages.0: eval.frames must be a whole number >= 1"),
    ],
)
def test_what_a_stage_may_not_say_of_the_policy_is_a_line(text, said):
    sized(f"  - {text}\n")
    assert refusal().startswith(f"r.yaml:6: {said}")


def test_evaluations_are_of_sizes_that_the_policy_takes():
    assert refusal("stages=null", "eval.frames=5") == (
        "-s eval.frames=5: eval.frames is 5, and the policy 'digits' has no option 'frames' that "
        "evaluations could change; remove it"
    )
    sd3 = ["stages=null", "policy={name: diffusers, pretrained: a/b}", "sampler.steps=4"]
    assert load_recipe("r.yaml", [*sd3, "eval.resolution=256"]).evaluated_size["resolution"] == 256
    said = refusal(*sd3, "eval.resolution=4")
    assert said.startswith("-s eval.resolution=4: policy.resolution must be a whole number")


def test_tiny_stages_keep_sizes_that_are_small_enough():
    sized("  - {epochs: 4, policy: {frames: 1}}\n  - {epochs: 5, policy: {frames: 17}}\n")
    written = Path("r.yaml").read_text()
    Path("r.yaml").write_text(f"{written}eval: {{frames: 33}}\n")
    recipe = load_recipe("r.yaml", tiny=True)
    assert [stage.recipe.size["frames"] for stage in recipe.timeline] == [1, 5]
    assert [stage.recipe.evaluated_size["frames"] for stage in recipe.timeline] == [5, 5]


def test_mistakes_in_several_stages_are_a_line_each():
    with_stages("  - {epochs: 2, data: {groups: 1}}\n  - {epochs: 7, eval: {stepz: 1}}\n")
    first, second = refusals()
    assert first.startswith("r.yaml:5: stages.0: unknown key 'data.groups'")
    assert second.startswith("r.yaml:6: stages.1: unknown key 'eval.stepz'")


def test_what_disagrees_in_a_stage_with_the_rest_names_the_stage():
    with_stages("  - {epochs: 9, data: {groups_per_epoch: 2}}\n")
    assert refusal("engine.processes=3").startswith(
        "-s engine.processes=3: stages.0: engine.processes is 3 and data.groups_per_epoch is 2"
    )


def test_an_override_that_makes_a_stage_wrong_is_its_place():
    override = "stages.1.sampler.steps=none"
    assert refusal(override).startswith(f"-s {override}: stages.1: sampler.steps must be a whole")
    assert "list of 3" in refusal("stages.3.epochs=1")


def test_one_stage_can_be_loaded_alone_and_overrides_are_of_it():
    stage = load_stage("r.yaml", 5, ["sampler.steps=3", "eval.images_per_prompt=1"])
    assert (stage.stages, stage.sampler.options["steps"]) == (None, 3)
    assert labels(stage) == ["digit", "diversity"]
    found = {done: labels(load_stage("r.yaml", done)) for done in (0, 2, 3, 6, 7, 9)}
    both = ["digit", "diversity"]
    one = ["digit"]
    assert found == {0: one, 2: one, 3: both, 6: both, 7: one, 9: one}


def test_a_tiny_recipe_has_tiny_stages():
    recipe = load_recipe("r.yaml", ["stages.1.sampler.steps=9"], tiny=True)
    assert (recipe.name, recipe.epochs) == ("staged_tiny", 3)
    assert [stage.recipe.epochs for stage in recipe.timeline] == [1, 1, 1]
    assert [stage.recipe.sampler.options["steps"] for stage in recipe.timeline] == [4, 9, 4]
    assert [stage.recipe.data.groups_per_epoch for stage in recipe.timeline] == [4, 4, 4]
    assert [labels(stage.recipe) for stage in recipe.timeline][1] == ["digit", "diversity"]
    assert recipe.timeline[1].recipe.objective.options["kl_weight"] == 0.0
    assert load_recipe("r.yaml", (), 2, tiny=True).epochs == 2
