"""What a run cannot start with, or a reward cannot use, is named before anything is loaded."""

import json

import pytest

from tests.runs import RECIPES
from tests.train_here import recipe
from zoo.plan.preflight import count_prompts, require_rewards
from zoo.prompt import PromptError
from zoo.recipe.errors import RecipeError

NFT = RECIPES["nft"]


@pytest.fixture
def prompts(tmp_path):
    """A file with so many usable prompts, and some that the reward `digit` cannot use."""

    def write(good, bad, name="prompts.jsonl"):
        usable = {"prompt": "a seven", "digit": 7}
        lines = [usable] * good + [{"prompt": "a seven"}] * bad
        path = tmp_path / name
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return str(path)

    return write


def test_a_few_are_a_warning_with_the_line_of_the_first(prompts):
    source = prompts(19, 1)
    counts = count_prompts(recipe(NFT, data__train=source))
    assert (counts.train, counts.eval) == (20, 10)
    (line,) = counts.refused
    assert line.startswith(
        f"data.train: the reward 'digit' cannot use 1 of 20 prompts: {source}:20: the prompt "
    )
    assert line.endswith("; their images are invalid")


def test_more_than_may_be_invalid_are_refused(prompts):
    for which in ("train", "eval"):
        source = prompts(8, 2)
        made = recipe(NFT, **{f"data__{which}": source})
        with pytest.raises(PromptError) as raised:
            count_prompts(made)
        line = str(raised.value)
        assert line.startswith(f"-s data.{which}={source}: data.{which}: the reward 'digit")
        assert "cannot use 2 of 10 prompts" in line
        assert line.endswith("(scoring.max_invalid allows 10%)")
        allowed = recipe(NFT, **{f"data__{which}": source}, scoring__max_invalid=0.2)
        assert count_prompts(allowed).refused


def test_all_are_refused_whatever_is_allowed(prompts):
    made = recipe(NFT, data__train=prompts(0, 3), scoring__max_invalid=1.0)
    with pytest.raises(PromptError, match="cannot use 3 of 3 prompts"):
        count_prompts(made)


def test_all_of_the_recipes_own_can_be_used():
    for path in RECIPES.values():
        assert count_prompts(recipe(path)).refused == ()


def test_a_reward_need_not_use_the_prompts_of_sources_that_do_not_name_it(prompts):
    usable, other = prompts(3, 0), prompts(0, 2, name="other.jsonl")
    named = f"[{{source: {usable}}}, {{source: {other}, rewards: [diversity]}}]"
    rewards = "[{name: digit}, {name: diversity}]"
    counts = count_prompts(recipe(NFT, data__train=named, rewards=rewards))
    assert (counts.train, counts.sources, counts.refused) == (5, (3, 2), ())
    unnamed = f"[{{source: {usable}}}, {{source: {other}}}]"
    with pytest.raises(PromptError, match=r"data.train.1: the reward 'digit' cannot use 2 of 2"):
        count_prompts(recipe(NFT, data__train=unnamed, rewards=rewards))
    missing = f"[{{source: {usable}}}, {{source: {usable}x.txt}}]"
    with pytest.raises(PromptError, match=r"data.train.1: prompt"):
        count_prompts(recipe(NFT, data__train=missing, rewards=rewards))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import no_such_module\n",
            "cannot be imported: ModuleNotFoundError: No module named 'no_s",
        ),
        ("def other(images, prompts): ...\n", "has no function 'score'; it has: other; write path"),
        ("score = 3\n", "is of type int; make it a function"),
        (None, "does not exist; the working directory is"),
    ],
)
@pytest.mark.parametrize("where", ["rewards", "eval.rewards"])
def test_a_reward_file_that_cannot_be_used_is_refused_with_its_place(text, said, where, tmp_path):
    path = tmp_path / "my_reward.py"
    if text is not None:
        path.write_text(text)
    entry = f"[{{name: digit}}, {{name: python, path: '{path}:score', label: mine}}]"
    made = recipe(NFT, **{where.replace(".", "__"): entry})
    with pytest.raises(RecipeError) as raised:
        require_rewards(made)
    line = str(raised.value)
    assert line.startswith(f"-s {where}={entry}: {where}.1: 'python' refuses its options: ")
    assert said in line
    path.write_text("def score(images, prompts): ...\n")
    require_rewards(made)


def test_the_rewards_of_every_stage_are_looked_at(tmp_path):
    stages = (
        f"[{{epochs: 1}}, {{epochs: 1, rewards: [{{name: python, path: '{tmp_path}/r.py:f'}}]}}]"
    )
    made = recipe(NFT, epochs=2, stages=stages)
    with pytest.raises(RecipeError, match="'python' refuses its options: the reward file"):
        require_rewards(made)
