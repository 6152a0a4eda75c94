"""Suites: what contenders become, and what is refused before anything runs."""

import pytest

from tests.runs import ROOT
from tests.suites import GRPO, suite
from zoo.recipe.errors import RecipeError
from zoo.suite import MANY_EPOCHS, load_suite


def load(path, *overrides, tiny=False):
    return load_suite(path, overrides, path.parent / "runs", tiny=tiny)


def refusals(path, *overrides):
    with pytest.raises(RecipeError) as caught:
        load(path, *overrides)
    return caught.value.lines


def test_contenders_are_the_base_with_their_own_parts_and_the_common_ones(tmp_path):
    path = suite(
        tmp_path,
        f"""
nft: {{}}
beta1: {{objective: {{beta: 1.0}}}}
dotted: {{objective.beta: 0.5, optim.lr: 1e-3}}
grpo: {GRPO}
nothing:
""",
        seeds="[3, 1]",
    )
    entries = load(path).entries
    assert [entry.name for entry in entries] == [
        "nft_3", "beta1_3", "dotted_3", "grpo_3", "nothing_3",
        "nft_1", "beta1_1", "dotted_1", "grpo_1", "nothing_1",
    ]  # fmt: skip
    recipes = {entry.name: entry.recipe for entry in entries}
    assert {name: recipe.seed for name, recipe in recipes.items() if name.startswith("nft")} == {
        "nft_3": 3, "nft_1": 1,
    }  # fmt: skip
    assert recipes["nft_3"].objective.options["beta"] == 0.1
    assert recipes["beta1_3"].objective.options["beta"] == 1.0
    assert recipes["dotted_3"].objective.options["beta"] == 0.5
    assert recipes["dotted_3"].optim.lr == 1e-3
    assert recipes["grpo_3"].objective.name == "flow_grpo"
    assert recipes["grpo_3"].sampler.options["solver"].name == "flow_sde"
    assert recipes["nothing_1"].objective == recipes["nft_1"].objective
    for name, recipe in recipes.items():
        assert recipe.name == name
        assert recipe.epochs == 2
        assert recipe.data.group_size == 4
        assert recipe.output_dir == str(tmp_path / "runs")


@pytest.mark.parametrize(
    ("budget", "epochs"),
    [
        ("{images: 17}", {"nft": 3, "grpo": 3}),  # eight an epoch
        # To collect 8 x 3; to train NFT 8 x 2 of its times x 3 sets, Flow-GRPO 8 x 2 steps.
        ("{forwards: 150}", {"nft": 3, "grpo": 4}),
        ("{seconds: 2.5}", {"nft": MANY_EPOCHS, "grpo": MANY_EPOCHS}),
        ("{epochs: 7}", {"nft": 7, "grpo": 7}),
    ],
)
def test_a_budget_is_enough_for_so_many_epochs(budget, epochs, tmp_path):
    path = suite(tmp_path, f"nft: {{}}\ngrpo: {GRPO}", budget=budget)
    entries = load(path).entries
    assert {entry.contender: entry.recipe.epochs for entry in entries} == epochs
    for entry in entries:
        conditions = entry.recipe.resolved()["stop_when"]
        if "epochs" in budget:
            assert conditions is None
        else:
            key, value = budget.strip("{}").split(": ")
            assert conditions[key] == float(value)


def test_conditions_of_a_recipe_stay_beside_the_budget(tmp_path):
    path = suite(tmp_path, "nft: {stop_when: {drift: 0.5}}", budget="{images: 16}")
    (entry,) = load(path).entries
    assert (entry.recipe.stop_when.drift, entry.recipe.stop_when.images) == (0.5, 16)


def test_overrides_are_of_the_suite(tmp_path):
    path = suite(tmp_path, "nft: {}\nbeta1: {objective: {beta: 1.0}}")
    loaded = load(
        path, "seeds=[5]", "budget.epochs=4", "contenders.nft.objective.beta=0.7",
        "common.optim.lr=2e-3", "contenders.more={objective: {beta: 2.0}}",
    )  # fmt: skip
    found = {
        entry.name: (entry.recipe.objective.options["beta"], entry.recipe.optim.lr)
        for entry in loaded.entries
    }
    assert found == {"nft_5": (0.7, 2e-3), "beta1_5": (1.0, 2e-3), "more_5": (2.0, 2e-3)}
    assert {entry.recipe.epochs for entry in loaded.entries} == {4}


def test_paths_are_relative_to_the_suite(tmp_path, monkeypatch):
    recipe = ROOT / "recipes" / "nft_digits.yaml"
    (tmp_path / "base.yaml").write_text(f"extends: {recipe}\nname: base\n")
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    path = suite(tmp_path, "nft: {}\nother: {extends: base.yaml}", recipe="base.yaml")
    assert len(load(path).entries) == 2


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("budgt={epochs: 1}", "unknown key 'budgt'; did you mean 'budget'?"),
        ("seeds=[]", "seeds must be a list of whole numbers >= 0 at least 1 long"),
        ("seeds=[1, 1]", "a seed is there twice"),
        ("seeds=[-1]", "seeds.0"),
        ("budget={epochs: 1, images: 5}", "a budget is one of seconds, forwards, images"),
        ("budget={}", "a budget is one of seconds, forwards, images"),
        ("contenders={}", "contenders"),
        ("contenders={../up: {}}", "cannot name a run's folder"),
        ("recipe=none.yaml", "'none.yaml' is no recipe's file"),
        ("contenders.nft.extends=[1]", "[1] is no recipe's file"),
        ("contenders.nft.objective.bta=1", "unknown key 'objective.bta'; did you mean 'beta'?"),
        ("common.eval=null", "contender 'nft' has no eval, by which contenders are compared"),
        ("contenders.nft.eval.guidance=2.0", "eval.guidance is 1.0 for 'other' and 2.0 for 'nft'"),
        ("contenders.nft.data.eval=builtin:digits/train", "data.eval is 'builtin:digits/eval'"),
        ("targets=[{label: jude, at_least: 1}]", "'jude' is not scored by the evaluations; did"),
    ],
)
def test_what_cannot_be_compared_is_refused(override, said, tmp_path):
    path = suite(tmp_path, "nft: {}\nother: {objective: {beta: 1.0}}")
    lines = refusals(path, override)
    assert any(said in line for line in lines), lines
    assert all("\n" not in line for line in lines)


def test_a_mistake_of_a_contender_is_said_with_its_place_and_name(tmp_path):
    path = suite(tmp_path, "nft: {}\nwrong:\n  objective: {beta: -1}")
    (line,) = refusals(path)
    number = 1 + path.read_text().splitlines().index("  wrong:")
    assert line.startswith(
        f"{path}:{number}: contender 'wrong': {path}:{number + 1}: objective.beta"
    )


def test_a_schedule_needs_a_number_of_epochs(tmp_path):
    path = suite(tmp_path, "nft: {optim: {schedule: cosine}}", budget="{seconds: 5}")
    (line,) = refusals(path)
    assert "optim.schedule is cosine, and how many epochs 5.0 seconds are is not known" in line
    assert load(path, "budget={images: 16}").entries[0].recipe.epochs == 2


def test_stages_are_of_epochs(tmp_path):
    staged = "staged: {stages: [{epochs: 1}, {epochs: 2, optim: {lr: 1e-4}}]}"
    path = suite(tmp_path, staged, budget="{epochs: 3}")
    assert len(load(path).entries[0].recipe.timeline) == 2
    (line,) = refusals(path, "budget={images: 16}")
    assert "it has stages, which are of epochs; compare by budget: {epochs: ...}" in line


@pytest.mark.parametrize("name", ["digits", "ablations", "solvers"])
def test_a_suite_of_the_benchmarks_can_be_run(name, tmp_path):
    loaded = load_suite(ROOT / "benchmarks" / f"{name}.yaml", (), tmp_path)
    assert len(loaded.suite.seeds) >= 3
    assert len(loaded.suite.contenders) >= 4
    assert loaded.suite.name == name


def test_the_sd3_suite_runs_tiny(tmp_path):
    loaded = load_suite(ROOT / "benchmarks" / "sd3.yaml", ["seeds=[0]"], tmp_path, tiny=True)
    assert {entry.recipe.objective.name for entry in loaded.entries} == {"nft", "flow_grpo", "dpo"}
    assert {entry.recipe.epochs for entry in loaded.entries} == {2}
    assert {entry.recipe.sampler.options["guidance"] for entry in loaded.entries} == {1.0}
