"""The suite's file: how contenders' recipes are merged, and what is refused."""

import pytest

from tests.runs import RECIPES, ROOT
from zoo.compare.suite import load_suite
from zoo.recipe.errors import RecipeError

HEAD = f"name: x\nrecipe: {RECIPES['nft']}\nseeds: [0, 1]\nbudget: {{epochs: 2}}\n"


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """Writes a suite's contenders (and what follows) and reads it, with overrides."""
    monkeypatch.chdir(tmp_path)

    def read(text, *overrides, head=HEAD):
        (tmp_path / "s.yaml").write_text(head + text)
        return load_suite("s.yaml", overrides)

    return read


def refusal(make, *arguments, **options):
    with pytest.raises(RecipeError) as raised:
        make(*arguments, **options)
    return str(raised.value)


def test_a_contender_is_merged_over_the_base_and_common_over_both(suite):
    text = (
        "common: {eval: {every: 3}, objective: {kl_weight: 0.5}}\n"
        "contenders:\n  a: {}\n  b: {objective: {beta: 0.7, kl_weight: 0.1}, eval: {every: 1}}\n"
    )
    found = suite(text)
    a, b = found.recipe("a"), found.recipe("b")
    assert (a.objective.options["beta"], b.objective.options["beta"]) == (0.1, 0.7)
    assert a.objective.options["kl_weight"] == b.objective.options["kl_weight"] == 0.5
    assert a.eval.every == b.eval.every == 3
    assert b.eval.steps == a.eval.steps == 10


def test_another_component_replaces_the_section(suite):
    text = "contenders:\n  a:\n    sampler: {solver: {name: flow_sde, noise_level: 0.7}}\n"
    text += "    objective: {name: flow_grpo}\n"
    recipe = suite(text).recipe("a")
    assert recipe.objective.name == "flow_grpo"
    assert "beta" not in recipe.objective.options
    assert recipe.sampler.options["steps"] == 10


def test_keys_with_dots_set_one_part(suite):
    recipe = suite("contenders:\n  a: {objective.beta: 0.7, rewards.0.weight: 2.0}\n").recipe("a")
    assert recipe.objective.options["beta"] == 0.7
    assert recipe.rewards[0].weight == 2.0
    assert str(recipe.origin(("objective", "beta"))) == "s.yaml:6"


def test_a_contender_may_extend_a_recipe_of_its_own(suite, tmp_path):
    (tmp_path / "own.yaml").write_text(f"extends: {RECIPES['flow_grpo']}\nepochs: 7\n")
    recipe = suite("contenders:\n  a: {extends: own.yaml, optim: {lr: 1e-5}}\n").recipe("a")
    assert (recipe.objective.name, recipe.epochs, recipe.optim.lr) == ("flow_grpo", 7, 1e-5)


def test_overrides_set_leaves_of_the_suite(suite):
    text = "contenders:\n  a: {}\n  eta_0.9: {objective: {beta: 1.0}}\n"
    found = suite(
        text,
        "seeds=[5]",
        "budget.epochs=3",
        "common.engine.threads=2",
        "contenders.a.objective.beta=0.5",
        "contenders.eta_0.9.objective.beta=0.25",
    )
    assert found.suite.seeds == (5,)
    assert found.suite.budget.spent == {"epochs": 3}
    assert found.recipe("a").engine.threads == 2
    assert found.recipe("a").objective.options["beta"] == 0.5
    assert found.recipe("eta_0.9").objective.options["beta"] == 0.25
    assert list(found.suite.contenders) == ["a", "eta_0.9"]


def test_an_override_adds_a_contender_only_when_it_is_written_whole(suite):
    found = suite("contenders: {nft: {}}\n", "contenders.b={objective: {beta: 1.0}}")
    assert list(found.suite.contenders) == ["nft", "b"]
    said = refusal(suite, "contenders: {nft: {}}\n", "contenders.ntf.objective.beta=1")
    assert said == (
        "-s contenders.ntf.objective.beta=1: there is no contender 'ntf'; did you mean 'nft'? "
        "contenders: nft; to add it: -s 'contenders.ntf={...}'"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("contenders: {}\n", "s.yaml:5: contenders must be a mapping at least 1 long, not {}"),
        ("contenders: {a: null}\n", "s.yaml:5: contenders.a must be a mapping, not null"),
        ("contenders: {a/b: {}}\n", "s.yaml:5: contenders.a/b: 'a/b' cannot name a run's folder"),
        ("contendrs: {a: {}}\n", "unknown key 'contendrs'; did you mean 'contenders'?"),
        ("targets: [{label: x}]\ncontenders: {a: {}}\n", "targets.0 needs 'at_least': a number"),
        ("contenders:\n  a: {seed: 3}\n", "s.yaml:6: contenders.a.seed is set by the suite itself"),
        ("common: {name: x}\ncontenders: {a: {}}\n", "s.yaml:5: common.name is set by the suite"),
        ("common: {extends: x}\ncontenders: {a: {}}\n", "s.yaml:5: common is merged over recipes"),
    ],
)
def test_a_mistake_is_said_with_its_line(suite, text, said):
    assert said in refusal(suite, text)


def test_what_is_missing_is_missing_in_the_suite(suite):
    assert refusal(suite, "contenders: {a: {}}\n", head="name: x\nseeds: [0]\n") == (
        "s.yaml:1: the suite needs 'recipe': text at least 1 long\n"
        "s.yaml:1: the suite needs 'budget': a mapping of seconds, forwards, images, epochs"
    )


@pytest.mark.parametrize("budget", ["{}", "{images: 1, epochs: 2}"])
def test_a_budget_is_of_one_kind(suite, budget):
    head = HEAD.replace("{epochs: 2}", budget)
    said = refusal(suite, "contenders: {a: {}}\n", head=head)
    assert said.startswith("s.yaml:4: budget must have exactly one of seconds, forwards, images")


def test_seeds_are_not_repeated(suite):
    said = refusal(suite, "contenders: {a: {}}\n", "seeds=[3, 1, 3]")
    assert said == "-s seeds=[3, 1, 3]: the seed 3 is written 2 times; keep one"


def test_a_mistake_in_a_recipe_names_the_contender(suite):
    found = suite("contenders:\n  a: {}\n  b:\n    objective: {bta: 1.0}\n")
    assert found.recipe("a").name == "nft_digits"
    said = refusal(found.recipe, "b")
    start = "s.yaml:8: contender 'b': unknown key 'objective.bta'; did you mean 'beta'?"
    assert said.startswith(start)


def test_a_recipe_that_is_missing_is_said_where_it_is_written(suite, tmp_path):
    (tmp_path / "base.yaml").write_text("name: x\n")
    found = suite("contenders:\n  a: {extends: bse.yaml}\n")
    said = refusal(found.recipe, "a")
    assert said == (
        "s.yaml:6: contender 'a': extends is bse.yaml, which is no file; did you mean 'base.yaml'?"
    )


def test_a_mistake_in_an_override_with_colons_names_the_whole_override(suite):
    override = "contenders={a: {}, b: {extends: bse.yaml}}"
    found = suite("contenders:\n  a: {}\n", override)
    line = refusal(found.recipe, "b")
    assert line.startswith(f"-s {override}: contender 'b': extends is bse.yaml, which is no file")


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("name", ["digits", "ablations", "objectives", "solvers"])
def test_every_suite_that_ships_can_be_read(name):
    found = load_suite(ROOT / "benchmarks" / f"{name}.yaml")
    assert found.suite.name == name
    for contender in found.suite.contenders:
        assert found.recipe(contender).eval.every == 2
