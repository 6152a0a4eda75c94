from pathlib import Path

import pytest

from tests.recipe.test_checks import FAKES, RECIPE, Euler
from zoo.recipe.recipe import RecipeError, load_recipe


class Adaptive(Euler):
    def num_evals(self, num_steps):
        return None


@pytest.fixture(autouse=True)
def recipe_file(register, tmp_path, monkeypatch):
    for kind, name, cls in [*FAKES, ("solvers", "adaptive", Adaptive)]:
        register(kind, name, cls)
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["engine.offload=optimizer"], "engine.offload is optimizer, which DeepSpeed does at"),
        (
            ["engine.zero_stage=2", "engine.offload=parameters"],
            "engine.offload is parameters, which DeepSpeed does at engine.zero_stage 3, and the "
            "stage is 2; write engine.zero_stage: 3",
        ),
        (["engine.zero_stage=0", "engine.offload=optimizer"], "engine.offload is optimizer"),
        (
            ["engine.deepspeed={zero_optimization: {}}"],
            "engine.deepspeed has options, but without a stage DeepSpeed is not used",
        ),
        (
            ["engine.zero_stage=1", "engine.deepspeed.zero_optimisation.reduce_bucket_size=1"],
            "unknown key 'engine.deepspeed.zero_optimisation'; did you mean 'zero_optimization'?",
        ),
        (
            ["engine.zero_stage=1", "engine.deepspeed.zero_optimization.stage=2"],
            "engine.deepspeed.zero_optimization.stage is not open: write engine.zero_stage",
        ),
        (
            ["engine.zero_stage=1", "engine.deepspeed.bf16.enabled=true"],
            "engine.deepspeed.bf16 is not open: it would cast LoRA",
        ),
        (
            [
                "engine.zero_stage=2",
                "engine.deepspeed.zero_optimization.offload_optimizer.device=nvme",
            ],
            "engine.deepspeed.zero_optimization.offload_optimizer is not open: write",
        ),
        (["engine.zero_stage=4"], "engine.zero_stage must be a whole number >= 0 and <= 3 or"),
        (["engine.zero_stage=true"], "engine.zero_stage must be a whole number >= 0 and <= 3 or"),
        (["engine.deepspeed=3"], "engine.deepspeed must be a mapping, not 3"),
        (
            ["engine.zero_stage=3", "sampler.solver.name=adaptive"],
            "the solver 'adaptive' makes as many forwards as its data needs",
        ),
        (
            ["engine.zero_stage=3", "eval={}", "eval.solver.name=adaptive"],
            "the solver 'adaptive' makes as many forwards as its data needs",
        ),
    ],
)
def test_what_deepspeed_cannot_do_is_refused(overrides, said):
    with pytest.raises(RecipeError) as raised:
        load_recipe("r.yaml", overrides)
    (line,) = raised.value.lines
    assert line.startswith(f"-s {overrides[-1]}: {said}")


@pytest.mark.parametrize(
    "overrides",
    [
        ["engine.zero_stage=1", "engine.offload=optimizer"],
        ["engine.zero_stage=3", "engine.offload=parameters"],
        ["engine.zero_stage=0"],
        ["engine.zero_stage=2", "sampler.solver.name=adaptive"],
        ["engine.zero_stage=2", "engine.deepspeed.zero_optimization.reduce_bucket_size=1000"],
        [
            "engine.zero_stage=2",
            "engine.offload=optimizer",
            "engine.deepspeed.zero_optimization.offload_optimizer.pin_memory=false",
        ],
    ],
)
def test_what_deepspeed_can_do_is_valid(overrides):
    load_recipe("r.yaml", overrides)
