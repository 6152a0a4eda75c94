"""People's votes: kept at once, read after any end, merged; by themselves a preference table."""

import pytest

from tests.pictures import encoded, flat
from zoo.data.prompts import load
from zoo.run import votes
from zoo.run.votes import Merged, Vote
from zoo.storage.files import WriteError
from zoo.storage.json_data import DamagedFileError


def vote(*preference, voter="Ann", group="g1", prompt="a cat"):
    images = tuple(f"images/{i:016x}.png" for i in range(len(preference)))
    return Vote(
        prompt=prompt, images=images, preference=preference, group=group, voter=voter,
        time="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def keep(run_dir, *given):
    for each in given:
        votes.append(run_dir, each, {name: encoded(flat(i)) for i, name in enumerate(each.images)})
    return votes.path_of(run_dir)


def test_a_vote_reads_back_and_a_run_without_any_has_none(tmp_path):
    assert votes.read(tmp_path) == []
    keep(tmp_path, vote(1.0, 0.5, 0.0), vote(0.0, 1.0, voter="Ben"))
    assert votes.read(tmp_path) == [vote(1.0, 0.5, 0.0), vote(0.0, 1.0, voter="Ben")]


def test_what_a_kill_left_of_a_line_is_nobodys_vote(tmp_path):
    path = keep(tmp_path, vote(1.0, 0.0))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert votes.read(tmp_path) == [vote(1.0, 0.0)]
    keep(tmp_path, vote(0.0, 1.0, voter="Ben"))
    assert [each.voter for each in votes.read(tmp_path)] == ["Ann", "Ben"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (('"voter":"Ann"', '"voter":3'), "voter: input should be a valid string, not 3"),
        (("[1.0,0.0]", "[1.0]"), "1 preferences for 2 images"),
        (("[1.0,0.0]", "[1.0,2.0]"), "preference.1: input should be less than or equal to 1"),
    ],
)
def test_a_line_that_is_no_vote_is_named(change, why, tmp_path):
    path = keep(tmp_path, vote(1.0, 0.0), vote(1.0, 0.0))
    first, second = path.read_text().splitlines()
    path.write_text(f"{first.replace(*change)}\n{second}\n")
    with pytest.raises(DamagedFileError, match=f"votes.jsonl:1 is damaged .*{why}.*delete that"):
        votes.read(tmp_path)


def test_what_cannot_be_written_is_said_with_the_file(tmp_path):
    (tmp_path / votes.FOLDER).write_text("in the way")
    with pytest.raises(WriteError, match=r"votes\.jsonl cannot be written"):
        keep(tmp_path, vote(1.0, 0.0))


def test_people_are_merged_by_their_means_once_each_and_without_skips():
    merged = votes.merge(
        [
            vote(1.0, 0.0), vote(0.0, 1.0, voter="Ben"), vote(0.0, 1.0),
            vote(0.5, 0.5, voter="Cid"), vote(0.5, 0.5, group="g2"),
        ]
    )  # fmt: skip
    images = ("images/0000000000000000.png", "images/0000000000000001.png")
    assert merged == {"g1": Merged("a cat", images, (0.0, 1.0), 2)}


def test_the_file_is_a_table_of_preferences_that_recipes_read(tmp_path):
    path = keep(tmp_path, vote(1.0, 0.5, 0.0))
    (prompt,) = load(str(path))
    assert (prompt.text, prompt.metadata["preference"]) == ("a cat", [1.0, 0.5, 0.0])
    assert [image.path for image in prompt.images] == [
        path.parent / name for name in vote(1.0, 0.5, 0.0).images
    ]
