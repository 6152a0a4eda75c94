"""Every objective on the digits, and what else their recipes and the scenes' have.

The device gives the CPU's numbers, and is not waited for.
"""

import pytest

from tests.invariants.test_every_objective import OWN
from tests.rehearsal.on_it.both import SHORT, rehearse
from tests.runs import RECIPES, ROOT, written

COMMON = {**SHORT, "eval": "null"}
PATHS = {
    name: ROOT / "recipes" / f"{name.split()[0]}_digits.yaml" for name in (*RECIPES, *sorted(OWN))
}
FAST = ("flow_grpo",)
MORE = {
    "nft": {"objective.kl_weight": 0.01},
    "flow_grpo": {"objective.kl_weight": 0.01, "sampler.guidance": 2.0},
    "dpo": {"objective.pairs_per_group": 1, "objective.draws_per_pair": 3},
    **{name: changes for name, changes in OWN.items() if name != "sft"},
}
EACH = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in PATHS]
)


@EACH
def test_an_objective_has_the_same_numbers_and_waits_for_nothing(name, tmp_path, traffic):
    options = {**{k.replace("__", "."): v for k, v in COMMON.items()}, **MORE.get(name, {})}
    rehearse(PATHS[name], tmp_path, **options)
    assert traffic.calls["training"] > 0
    assert traffic.at("training") == {}
    # What an update must know of all its rows is read at once, however many micro-batches it has.
    assert traffic.waits("looking ahead") <= 2 * traffic.calls["looking ahead"]


def test_an_evaluated_run_has_the_same_numbers(tmp_path, traffic):
    rehearse(RECIPES["nft"], tmp_path, **SHORT, engine__gradient_checkpointing="true")
    assert traffic.at("training") == {}
    assert traffic.waits("sampling") <= traffic.calls["sampling"]


WINDOW = {
    "name": "sde_window", "inside": {"name": "cps"}, "outside": {"name": "heun"}, "size": 1,
    "moves": "slide", "stride": 1, "every": 1,
}  # fmt: skip
CASES = {
    "full fine-tuning, copies on the host": {
        "policy": "{name: digits, lora: null, copies_on: cpu}",
        "engine__gradient_checkpointing": "true",
    },
    "a window, gdpo, three rewards": {
        "sampler__solver": f"{{{written(WINDOW)}}}",
        "advantage__mix": "gdpo",
        "rewards": "[{name: digit}, {name: jpeg_compressibility, weight: 0.1}, "
        "{name: diversity, weight: 0.1}]",
    },
    "bfloat16": {"policy__dtype": "bfloat16"},
    "full fine-tuning in bfloat16": {"policy": "{name: digits, lora: null, dtype: bfloat16}"},
    "several micro-batches": {"engine__micro_batch": "{sample: 3, train: 3}", "epochs": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("algorithm", ["nft", "flow_grpo"])
def test_a_case_has_the_same_numbers(case, algorithm, tmp_path):
    if case.startswith("a window") and algorithm == "nft":
        pytest.skip("a window is for objectives on paths")
    rehearse(RECIPES[algorithm], tmp_path, **{**SHORT, **CASES[case]})


def without(options, *names):
    return {name: value for name, value in options.items() if name not in names}


STORED = {**without(COMMON, "sampler__steps"), "data__group_size": 2}
OTHERS = {
    "stored images, and what was preferred": (
        "dpo_digits_offline", {**STORED, "objective__draws_per_pair": 3},
    ),
    "stored images, and a reward that looks at them": (
        "sft_digits_offline", {**STORED, "objective__draws_per_image": 3},
    ),
    "stages": (
        "nft_digits_stages",
        {**without(SHORT, "epochs", "eval__every"), "eval__images_per_prompt": 2},
    ),
    "the scenes": ("nft_scenes", COMMON),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", OTHERS)
def test_another_recipe_has_the_same_numbers(case, tmp_path, traffic):
    recipe, changes = OTHERS[case]
    # Stages have an epoch each where the recipe is tiny.
    tiny = case == "stages"
    rehearse(ROOT / "recipes" / f"{recipe}.yaml", tmp_path, tiny=tiny, **changes)
    assert traffic.at("training") == {}
    assert traffic.waits("sampling") <= traffic.calls["sampling"]
