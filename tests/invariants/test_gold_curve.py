"""A refactor reproduces the digits run; a change that means to alter it makes the curve anew.

python -m tests.invariants.make_gold
"""

import pytest

from tests.invariants.gold import EPOCHS, curve, stored
from tests.runs import RECIPES, every_time
from tests.train_here import recipe, train_here
from zoo.plan.geometry import plan

# Other CPUs round otherwise: an image on the judge's border may fall on its other side.
ONE_OF_400_IMAGES = 1 / 400
ABSOLUTE = {"eval/judge": 2.5 * ONE_OF_400_IMAGES}


def test_the_digits_recipe_reproduces_its_gold_curve(tmp_path):
    measured, gold = curve(tmp_path), stored()
    assert len(measured) == len(gold) == EPOCHS + 1
    for epoch, (found, wanted) in enumerate(zip(measured, gold, strict=True)):
        assert found.keys() == wanted.keys()
        assert found.pop("num_evals") == wanted.pop("num_evals")
        for key, value in wanted.items():
            close = pytest.approx(value, rel=2e-3, abs=ABSOLUTE.get(key, 0.0))
            assert found[key] == close, f"{key} of epoch {epoch}"


# Micro-batches that need filling up, and everything that costs a forward of its own.
COSTLY = {
    "nft": {"objective__kl_weight": 0.01, "sampler__solver": "{name: heun}"},
    "flow_grpo": {"objective__kl_weight": 0.01, "sampler__guidance": 2.0},
    "dpo": {"objective__pairs_per_group": 3, "objective__draws_per_pair": 3},
}


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("algorithm", every_time("nft"))
@pytest.mark.parametrize("extra", [False, True])
def test_the_forwards_planned_are_the_forwards_made(algorithm, extra, tmp_path):
    made = recipe(
        RECIPES[algorithm],
        epochs=2, eval="null", data__groups_per_epoch=3, data__group_size=9, sampler__steps=3,
        optim__updates_per_epoch=2, engine__micro_batch="{sample: 5, train: 8}",
        **(COSTLY[algorithm] if extra else {}),
    )  # fmt: skip
    planned = plan(made, 1)
    lines = train_here(made, tmp_path)
    an_epoch = planned.collect_forwards + planned.train_forwards
    assert [line["num_evals"] for line in lines] == [0, an_epoch, 2 * an_epoch]
