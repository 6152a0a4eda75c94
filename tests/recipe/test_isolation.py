"""A recipe names a reward in another Python: its options are validated before it is started."""

import pytest
import torch

from tests.foreign import make_environment
from tests.runs import RECIPES
from zoo.prompt import Prompt
from zoo.recipe.describe import describe
from zoo.recipe.recipe import RecipeError, load_recipe, recipe_from


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> str:
    return make_environment(tmp_path_factory.mktemp("foreign") / "env")


@pytest.fixture
def load(python):
    def from_text(options):
        return load_recipe(
            RECIPES["nft"], [f"rewards=[{{{options}, isolate: {{python: {python}}}}}]"]
        )

    return from_text


@pytest.fixture
def refusal(load):
    def said(options):
        with pytest.raises(RecipeError) as raised:
            load(options)
        [line] = raised.value.lines
        return line

    return said


def test_its_options_have_their_defaults_and_the_recipe_reads_back_equal(load, python):
    recipe = load("name: brightness, scale: 2, crop: {size: 4}")
    [entry] = recipe.rewards
    assert entry.options == {
        "scale": 2.0,
        "levels": None,
        "crop": entry.options["crop"],
        "file": "none",
    }
    dump = recipe.resolved()
    assert dump["rewards"][0]["crop"] == {"size": 4, "where": "middle"}
    assert dump["rewards"][0]["isolate"] == {"python": python, "start_timeout": 300.0}
    assert recipe_from(dump) == recipe


def test_it_is_built_with_them(load):
    reward = (
        load("name: brightness, scale: 2, levels: [1, 2], crop: {size: 4}")
        .rewards[0]
        .build({"device": torch.device("cpu")})
    )
    scores = reward.score(torch.ones(1, 3, 4, 4), [Prompt("a")])
    assert scores.value.tolist() == [2.0]


def test_groupwise_is_known_before_it_starts(load):
    assert load("name: spread").rewards[0].cls.groupwise
    assert not load("name: brightness").rewards[0].cls.groupwise


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("name: brightness, scal: 2", "unknown key 'rewards.0.scal'; did you mean 'scale'"),
        ("name: brightness, scale: -1", "rewards.0.scale must be a number >= 0, not -1"),
        ("name: brightness, scale: text", "rewards.0.scale must be a number >= 0, not 'text'"),
        ("name: brightness, crop: {where: edge}", "crop.where must be 'middle' or 'corner'"),
        ("name: brightness, crop: {size: 0}", "crop.size must be a whole number >= 1, not 0"),
        ("name: brigthness", "registers the reward 'brigthness'; registered there: absent, bri"),
        ("name: positional", "Positional takes 'scale: float = 1.0'; write def __init__"),
    ],
)
def test_a_mistake_is_said_with_its_place(refusal, options, said):
    line = refusal(options)
    assert said in line
    assert line.startswith("-s rewards=")


@pytest.mark.parametrize(
    ("isolate", "said"),
    [
        ("here", "rewards.0.isolate must be a mapping of python, start_timeout or null"),
        ("{}", "rewards.0.isolate needs 'python': text at least 1 long"),
        ("{pyton: x}", "unknown key 'rewards.0.isolate.pyton'; did you mean 'python'"),
        ("{python: envs/none/bin/python}", "'envs/none/bin/python' cannot be run"),
        ("{python: x, start_timeout: 0}", "rewards.0.isolate.start_timeout must be a number > 0"),
    ],
)
def test_a_mistake_in_the_isolation_is_said(isolate, said):
    with pytest.raises(RecipeError) as raised:
        load_recipe(RECIPES["nft"], [f"rewards=[{{name: brightness, isolate: {isolate}}}]"])
    assert said in str(raised.value)


def test_a_reward_that_cannot_start_is_refused_with_its_place(load):
    [entry] = load("name: broken").rewards
    with pytest.raises(RecipeError, match=r"'broken' refuses its options: .* not on this disk"):
        entry.build({"device": torch.device("cpu")})


def test_its_options_can_be_described(python):
    from zoo.recipe.isolated import isolated_class

    cls = isolated_class(python, "brightness")
    assert cls.__doc__ == "The mean brightness of an image."
    assert [(option.name, option.type, option.default) for option in describe(cls)] == [
        ("scale", "a number", "1.0"),
        ("levels", "a list of whole numbers or null", "null"),
        ("crop", "a mapping of size, where", '{"size": 8, "where": "middle"}'),
        ("crop.size", "a whole number", "8"),
        ("crop.where", "'middle' or 'corner'", "'middle'"),
        ("file", "text", "'none'"),
    ]
