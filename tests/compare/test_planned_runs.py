"""The recipes that a suite's runs have: their budget, and what makes a comparison void."""

import pytest

from tests.compare.suites import BOTH, SMALL, one_process, planned, write
from tests.runs import RECIPES, ROOT
from zoo.compare.planned_runs import MANY_EPOCHS
from zoo.recipe.errors import RecipeError

BENCHMARKS = ROOT / "benchmarks"
SOLVERS = "contenders:\n  fixed: {}\n  adaptive: {sampler: {solver: {name: dopri5, rtol: 0.1}}}\n"


@pytest.fixture
def recipes(tmp_path):
    """The recipes of a suite's first seed, by contender."""

    def read(*overrides, tiny=False, **suite):
        path = write(tmp_path, **suite)
        _, found = planned(path, tmp_path / "out", overrides, tiny=tiny)
        return {each.contender: each.recipe for each in found if each.seed == found[0].seed}

    return read


def refusal(make, *arguments, **options):
    with pytest.raises(RecipeError) as raised:
        make(*arguments, **options)
    return str(raised.value).splitlines()


def test_a_budget_of_epochs_is_the_recipes_epochs(recipes):
    for recipe in recipes(budget="{epochs: 3}").values():
        assert recipe.epochs == 3
        assert recipe.stop_when is None


def test_a_budget_of_images_is_the_fewest_epochs_that_reach_it(recipes):
    for images, epochs in ((40, 2), (41, 3)):
        for recipe in recipes(budget=f"{{images: {images}}}").values():
            assert recipe.epochs == epochs
            assert recipe.stop_when.images == images


def test_a_budget_of_forwards_is_the_fewest_epochs_that_reach_it(recipes):
    found = recipes(budget="{forwards: 900}")
    for recipe in found.values():
        made = one_process(recipe)
        each = made.collect_forwards + made.train_forwards
        assert (recipe.epochs - 1) * each < 900 <= recipe.epochs * each
        assert recipe.stop_when.forwards == 900
    assert found["nft"].epochs != found["flow_grpo"].epochs


@pytest.mark.slow
def test_where_only_the_run_can_tell_its_condition_ends_it(recipes):
    assert {recipe.epochs for recipe in recipes(budget="{seconds: 5}").values()} == {MANY_EPOCHS}
    found = recipes(budget="{forwards: 900}", rest=SMALL + SOLVERS)
    assert found["fixed"].epochs < 100
    assert found["adaptive"].epochs == MANY_EPOCHS
    assert found["adaptive"].stop_when.forwards == 900


def test_conditions_of_the_recipe_stay(recipes):
    rest = SMALL + "contenders: {a: {stop_when: {drift: 0.5}}}\n"
    (recipe,) = recipes(budget="{forwards: 900}", rest=rest).values()
    assert (recipe.stop_when.drift, recipe.stop_when.forwards) == (0.5, 900)


def test_a_schedule_of_unknown_length_is_refused(recipes):
    rest = SMALL + "contenders:\n  a: {}\n  b: {optim: {schedule: cosine}}\n"
    (said,) = refusal(recipes, budget="{seconds: 5}", rest=rest)
    assert "suite.yaml:14: contender 'b': optim.schedule is 'cosine', whose shape" in said
    assert recipes(budget="{forwards: 900}", rest=rest)["b"].optim.schedule == "cosine"


@pytest.mark.parametrize("common", ["", "epochs: 7, "])
def test_its_length_may_be_written_where_only_the_run_can_tell(recipes, common):
    """And only there: what the budget buys is not what a suite guesses."""
    adaptive = "{epochs: 6, sampler: {solver: {name: dopri5, rtol: 0.1}}}"
    rest = f"common: {{{common}eval: {{every: 2}}, optim: {{schedule: linear}}}}\n"
    rest += f"contenders:\n  fixed: {{epochs: 5000}}\n  adaptive: {adaptive}\n"
    found = recipes(budget="{forwards: 9000}", rest=rest)
    assert found["fixed"].epochs < 100
    assert found["adaptive"].epochs == (7 if common else 6)
    assert found["adaptive"].stop_when.forwards == 9000


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.yaml")))
def test_the_suites_here_can_start(name, tmp_path):
    written, runs = planned(BENCHMARKS / f"{name}.yaml", tmp_path)
    assert len(runs) == len(written.suite.seeds) * len(written.suite.contenders)


def test_stages_are_compared_by_epochs_alone(recipes):
    stages = RECIPES["nft"].with_name("nft_digits_stages.yaml")
    rest = f"contenders: {{a: {{extends: {stages}}}}}\n"
    (said,) = refusal(recipes, budget="{forwards: 900}", rest=rest)
    assert "contender 'a': it has stages, whose lengths are in epochs" in said
    assert recipes(budget="{epochs: 3}", rest=rest)["a"].epochs == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("eval: {steps: 3}", "eval.steps is 3, and that of 'a' is 10"),
        ("eval: {solver: {name: heun}}", "eval.solver.name is 'heun', and that of 'a' is"),
        ("data: {eval: 'builtin:digits/train'}", "data.eval is 'builtin:digits/train', and"),
        ("eval: null", "eval is null, so there are no scores to compare"),
    ],
)
def test_a_comparison_in_which_something_else_differs_is_void(recipes, change, said):
    found = refusal(recipes, rest=f"contenders:\n  a: {{}}\n  b: {{{change}}}\n")
    assert any(f"contender 'b': {said}" in line and "`common` sets it" in line for line in found)


def test_models_must_be_the_same(recipes):
    own = RECIPES["nft"].with_name("nft_sd3_pickscore.yaml")
    found = refusal(recipes, rest=f"contenders:\n  a: {{}}\n  b: {{extends: {own}}}\n")
    assert any("contender 'b': policy.name is 'diffusers', and that of 'a' is 'digits'" in line
               for line in found)  # fmt: skip


def test_training_rewards_that_are_what_is_evaluated_must_be_the_same(recipes):
    both = "contenders:\n  a: {}\n  b: {rewards: [{name: jpeg_compressibility}]}\n"
    rest = f"common: {{eval: {{rewards: []}}}}\n{both}"
    (said,) = refusal(recipes, rest=rest)
    assert "contender 'b': eval.rewards is [" in said
    rest = "contenders:\n  a: {}\n  b: {rewards: [{name: jpeg_compressibility}]}\n"
    assert recipes(rest=rest)["b"].rewards[0].name == "jpeg_compressibility"


def test_every_contender_scores_the_targets(recipes):
    targets = "targets: [{label: juge, at_least: 0.5}]\n"
    found = refusal(recipes, rest=targets + BOTH)
    assert len(found) == 2
    assert (
        "suite.yaml:5: targets.0.label: 'juge' is not scored in the evaluation of contender"
        in (found[0])
    )
    assert "did you mean 'judge'? scored: digit, judge" in found[0]


def test_every_mistake_is_found_before_anything_is_run(recipes):
    rest = (
        "contenders:\n  a: {}\n  b: {data: {groups_per_epoch: 1}, optim: {updates_per_epoch: 99}}\n"
    )
    (said,) = refusal(recipes, rest=rest)
    assert "contender 'b': " in said
    assert "updates_per_epoch is 99" in said


@pytest.mark.slow
def test_tiny_has_a_small_budget_unless_the_command_says_another(recipes):
    found = recipes(tiny=True, budget="{forwards: 60000}", rest=BOTH)
    assert {recipe.epochs for recipe in found.values()} == {2}
    assert all(recipe.stop_when is None for recipe in found.values())
    assert {recipe.name for recipe in found.values()} == {"nft_0", "flow_grpo_0"}
    found = recipes("budget.forwards=5000", tiny=True, budget="{forwards: 60000}", rest=BOTH)
    assert {recipe.stop_when.forwards for recipe in found.values()} == {5000}
