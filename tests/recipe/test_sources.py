"""A list of sources in `data`: what it may say, and what of it is refused, a line each."""

import pytest

from tests.runs import RECIPES, ROOT
from zoo.recipe.json_schema import recipe_schema
from zoo.recipe.recipe import RecipeError, load_recipe, recipe_from

MIXTURE = ROOT / "recipes" / "nft_digits_mixture.yaml"
PLAIN = RECIPES["nft"]
DIGITS = "builtin:digits/train"


def refused(path, *overrides):
    with pytest.raises(RecipeError) as raised:
        load_recipe(path, overrides)
    return list(raised.value.lines)


def train(*entries):
    return f"data.train=[{', '.join(entries)}]"


def test_a_plain_source_is_written_as_it_was():
    data = load_recipe(PLAIN).resolved()["data"]
    assert (data["train"], data["eval"]) == (DIGITS, "builtin:digits/eval")


def test_a_list_reads_back_equal_and_its_entries_can_be_overridden():
    made = load_recipe(MIXTURE, ["data.train.1.weight=3"])
    first, second = made.data.sources("train")
    assert (first.weight, first.rewards) == (2.0, frozenset({"digit"}))
    assert (second.weight, second.rewards) == (3.0, frozenset({"digit", "diversity"}))
    assert recipe_from(made.resolved()).resolved() == made.resolved()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["data.train.0.weight=0"], "data.train.0.weight must be a number > 0 and <= 1000000000.0"),
        (["data.train.0.weight=-1"], "data.train.0.weight must be a number > 0"),
        (["data.train=[]"], "at least 1 long, not []"),
        ([train("{weight: 2}")], "data.train.0 needs 'source'"),
        ([train(f"{{source: {DIGITS}, wieght: 2}}")], "'data.train.0.wieght'; did you mean"),
        ([train(f"{{source: {DIGITS}, rewards: []}}")], "data.train.0.rewards must be"),
        (
            [train(f"{{source: {DIGITS}, rewards: [digt]}}", f"{{source: {DIGITS}}}")],
            "data.train.0.rewards names 'digt', and rewards has no reward of that label; did you "
            "mean 'digit'? there: digit, diversity",
        ),
        (
            ["data.train.1.rewards=[digit]"],
            "rewards.1: no source of data.train names 'diversity', which would score nothing; add "
            "its label to a source's rewards, or remove it",
        ),
        (
            [f"data.eval=[{{source: {DIGITS}, rewards: [digit, nose]}}, {{source: {DIGITS}}}]"],
            "data.eval.0.rewards names 'nose', and eval.rewards has no reward of that label; "
            "there: digit, diversity, judge",
        ),
        (["data.eval.0.weight=2"], "which has no '0'; set it whole"),
        (
            [f"data.eval=[{{source: {DIGITS}, weight: 2}}]"],
            "unknown key 'data.eval.0.weight'; allowed: source, rewards, tiny",
        ),
        (
            ["data.eval=null"],
            "data.train names the training rewards that score each source, and evaluations have "
            "rewards of their own (eval.rewards) and no prompts; write data.eval: a source, or a "
            "list of {source: ..., rewards: [LABEL]}",
        ),
        (
            ["rewards.0.weight=0", "advantage.diversity=digit"],
            "data.train.0.rewards has no reward with a weight: nothing is learned from it",
        ),
        (
            ["rewards=[{name: digit}, {name: diversity, weight: 0}]",
             "advantage={diversity: diversity}"],
            "data.train.0.rewards is without 'diversity', by which the advantages of all images "
            "are made (advantage); add it",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_has_a_line(changes, said):
    lines = refused(MIXTURE, *changes)
    assert len(lines) == 1, lines
    assert said in lines[0]


def test_stored_images_are_of_one_source():
    path = ROOT / "recipes" / "dpo_digits_offline.yaml"
    pairs = "{source: builtin:digits/pairs}"
    assert load_recipe(path, [train(pairs)]).data.sources("train")[0].place
    (line,) = refused(path, train(pairs, pairs))
    assert "data.train has 2 sources, and the sampler 'dataset' reads stored images of one" in line


def test_without_rewards_of_its_own_an_evaluation_has_the_sources_to_train_on():
    made = load_recipe(MIXTURE, ["data.eval=null", "eval.rewards=[]"])
    assert made.data.evaluated == "train"


def test_a_stage_may_have_other_sources():
    stages = f"stages=[{{epochs: 1}}, {{epochs: 1, data: {{train: [{{source: {DIGITS}}}]}}}}]"
    first, second = load_recipe(MIXTURE, ["epochs=2", stages]).timeline
    assert [len(stage.recipe.data.sources("train")) for stage in (first, second)] == [2, 1]
    wrong = "stages=[{epochs: 1}, {epochs: 1, rewards: [{name: digit}]}]"
    lines = refused(MIXTURE, "epochs=2", wrong)
    assert any("data.train.1.rewards names 'diversity'" in line for line in lines)


def test_tiny_replaces_the_sources_that_need_a_network_each_by_its_own(tmp_path):
    written = f"""
extends: {MIXTURE}
data:
  train:
    - {{source: 'hub:a/b', tiny: builtin:digits/images, rewards: [digit]}}
    - {{source: {DIGITS}}}
    - {{source: 'https://x.y/z.txt'}}
  tiny: {DIGITS}
"""
    (tmp_path / "r.yaml").write_text(written)
    made = load_recipe(tmp_path / "r.yaml", tiny=True)
    places = [source.place for source in made.data.sources("train")]
    assert places == ["builtin:digits/images", DIGITS, DIGITS]


def test_an_editor_knows_both_forms():
    definitions = recipe_schema()["definitions"]
    kinds = definitions["recipe Data"]["properties"]["train"]["anyOf"]
    assert {kind["type"] for kind in kinds} == {"string", "array"}
