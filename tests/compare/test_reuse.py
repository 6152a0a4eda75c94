"""Which folders of an earlier start are of the same run."""

from tests.runs import RECIPES
from tests.train_here import recipe
from zoo.compare.reuse import find_reusable
from zoo.recipe.sections import Sizes
from zoo.run import folder as run_dir
from zoo.run.folder import environment


def test_micro_batches_that_were_found_are_those_that_auto_asks_for(tmp_path):
    asked = recipe(
        RECIPES["nft"], output_dir=tmp_path, engine__micro_batch="{sample: auto, train: 4}"
    )
    run_dir.create(asked.with_micro_batch(Sizes(sample=7, train=4)))
    parent, here = tmp_path / asked.name, environment(asked)
    assert find_reusable(parent, asked, here).others == ()
    other = asked.with_micro_batch(Sizes(sample=7, train=5))
    (why,) = find_reusable(parent, other, here).others
    assert why.endswith("is not reused: its recipe has another engine")
