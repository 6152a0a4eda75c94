"""`zoo votes`: who voted, and pairs that offline recipes train on."""

import pytest
import torch

from tests.pictures import encoded, noise, pixels
from tests.runs import ROOT
from tests.train_here import ONE_UPDATE, recipe, train_here
from zoo.data.images import floats
from zoo.data.prompts import load
from zoo.run import votes
from zoo.run.votes import Vote


def keep(run_dir, group, *preference, voter="Ann", prompt="a drawing of the digit seven"):
    names = [f"images/{group:08x}{i:08x}.png" for i in range(len(preference))]
    vote = Vote(
        prompt=prompt, images=names, preference=preference, group=f"g{group}", voter=voter,
        time="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    pictures = {name: encoded(noise(10 * group + i, (8, 8))) for i, name in enumerate(names)}
    votes.append(run_dir, vote, pictures)


@pytest.fixture
def voted(tmp_path):
    keep(tmp_path, 1, 0.0, 0.5, 1.0)
    keep(tmp_path, 1, 0.0, 1.0, 0.5, voter="Ben")
    keep(tmp_path, 1, 0.5, 0.5, 0.5, voter="Cid")
    keep(tmp_path, 2, 1.0, 0.0, prompt="a drawing of the digit two")
    keep(tmp_path, 3, 1.0, 0.0)
    keep(tmp_path, 3, 0.0, 1.0, voter="Ben")
    return tmp_path


def test_it_says_who_voted_how_often(voted, zoo_here):
    ended = zoo_here("votes", voted)
    assert (ended.code, ended.out) == (0, "6 votes on 3 prompts: Ann 3, Ben 2, Cid 1\n")


def test_pairs_are_the_best_and_the_worst_of_what_people_prefer_on_the_mean(voted, zoo_here):
    out = voted / "pairs.parquet"
    ended = zoo_here("votes", voted, "--out", out)
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1].startswith(f"{out}: 2 pairs; ")
    first, second = load(str(out))
    assert (first.text, second.text) == (
        "a drawing of the digit seven", "a drawing of the digit two",
    )  # fmt: skip
    assert first.metadata == {"margin": 0.75, "votes": 2, "preference": [1, 0]}
    for prompt, seeds in ((first, (11, 10)), (second, (20, 21))):
        for image, seed in zip(prompt.images, seeds, strict=True):
            assert torch.equal(pixels(image, 8, 8), floats(noise(seed, (8, 8))))


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_an_offline_recipe_trains_on_the_table_as_it_is(name, voted, zoo_here, tmp_path):
    out = tmp_path / "pairs.parquet"
    assert zoo_here("votes", voted, "--out", out).code == 0
    changes = {
        "data.train": out, "data.groups_per_epoch": 2, "data.group_size": 2, "epochs": 1,
        "data.eval": "null", **{f"objective.draws_per_{'pair' if name == 'dpo' else 'image'}": 2},
    }  # fmt: skip
    short = {key: ONE_UPDATE[key] for key in ("optim__updates_per_epoch", "eval")}
    made = recipe(ROOT / "recipes" / f"{name}_digits_offline.yaml", **short, **changes)
    (_, line) = train_here(made, tmp_path / "run")
    assert line["step"] == 1
    assert line["empty_updates"] == 0


def test_a_run_without_votes_is_a_mistake(zoo_here, tmp_path):
    ended = zoo_here("votes", tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {tmp_path} has no votes: {votes.path_of(tmp_path)} is not")


def test_votes_that_prefer_nothing_make_no_table(zoo_here, tmp_path):
    keep(tmp_path, 1, 0.5, 0.5)
    ended = zoo_here("votes", tmp_path, "--out", tmp_path / "pairs.parquet")
    assert ended.code == 2
    assert ended.lines == [
        f"error: {tmp_path}: no vote prefers an image to another; there are no pairs"
    ]
    assert not (tmp_path / "pairs.parquet").exists()


@pytest.mark.parametrize(
    ("out", "said"),
    [("pairs.csv", "name a .parquet file"), ("none/pairs.parquet", "cannot be written: No such")],
)
def test_a_file_that_cannot_be_the_table_is_a_mistake(out, said, voted, zoo_here):
    ended = zoo_here("votes", voted, "--out", voted / out)
    assert ended.code == 2
    assert said in ended.err


def test_an_image_that_is_gone_is_named_with_the_fix(voted, zoo_here):
    gone = voted / "votes" / "images" / f"{2:08x}{1:08x}.png"
    gone.unlink()
    ended = zoo_here("votes", voted, "--out", voted / "pairs.parquet")
    assert ended.code == 2
    assert (
        f"the image {gone} of a vote cannot be read: No such file or directory; put it" in ended.err
    )
