"""The page over HTTP: who may see and vote, and what is kept of it."""

import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from zoo_human import server
from zoo_human.reward import Human
from zoo_human.server import AddressError

from tests.pictures import encoded, flat
from zoo.prompt import ImageBytes, Prompt
from zoo.run import votes


@pytest.fixture
def reward(asking, expected):
    made = asking()
    made.scored = expected(made, cat=[0.0, 0.5, 1.0], dog=[0.2, 0.4])
    return made


@pytest.fixture
def ann(person, reward):
    return person(reward.address)


def test_the_page_and_its_files_are_there_and_ask_nobody_else(ann):
    status, headers, page = ann.ask("")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert b"http" not in page
    for name in ("vote.js", "vote.css"):
        assert ann.ask(name)[0] == 200


def test_a_group_is_shown_with_its_images(ann):
    state = ann.state()
    assert (state["groups"], state["done"], state["votes"]) == (2, 0, 0)
    assert 500 < state["left"] <= 600
    group = state["group"]
    assert (group["prompt"], group["images"], group["number"]) == ("cat", 3, 1)
    assert [int(image.mean()) for image in ann.pictures(group)] == [0, 128, 255]


def test_a_vote_is_a_score_and_is_on_the_disk_when_it_is_answered(ann, reward, tmp_path):
    assert ann.vote(ann.state()["group"]["id"], [2], [1], [0]) == (200, '{"in_time": true}')
    (kept,) = votes.read(tmp_path)
    assert (kept.prompt, kept.preference, kept.voter) == ("cat", (0, 0.5, 1), "Ann")
    assert all((votes.path_of(tmp_path).parent / name).is_file() for name in kept.images)
    assert ann.vote(ann.state()["group"]["id"])[0] == 200
    scored = reward.scored("cat")
    assert scored.value.tolist() == [0, 0.5, 1]
    assert scored.extras["votes"].tolist() == [1, 1, 1]
    assert reward.scored("dog").value.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("path", ["/", "/vote", "/guess/", "/guess/state", "/guess/vote"])
def test_nobody_sees_or_votes_without_the_token(path, ann, tmp_path):
    assert ann.ask(path)[0] == 403
    assert ann.ask(path, json.dumps({"group": "x", "voter": "x", "ranking": []}).encode())[0] == 403
    assert votes.read(tmp_path) == []


def test_another_name_of_the_server_is_not_answered(ann):
    assert ann.ask("", Host="elsewhere.example")[0] == 400
    assert ann.ask("", Host="elsewhere.example:8300")[0] == 400
    assert ann.ask("", Host="localhost:8300")[0] == 200


def test_the_address_without_its_last_slash_leads_there(ann):
    ann.address = ann.address.removesuffix("/")
    assert ann.ask("")[0] == 200


@pytest.mark.parametrize(
    "path", ["odd", "image/x/0.png", "image/{id}/9.png", "image/{id}/-1.png", "../../etc/passwd"]
)
def test_what_is_not_there_is_not_found(path, ann):
    assert ann.ask(path.format(id=ann.state()["group"]["id"]))[0] in (403, 404)


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"ranking": [[0], [1]]}, 400, "a ranking has each of the 3 images once"),
        ({"ranking": [["a"]]}, 400, "ranking.0.0: input should be a valid integer"),
        ({"voter": " "}, 400, "voter: string should have at least 1 character"),
        ({"voter": "x" * 61}, 400, "voter: string should have at most 60"),
        ({"group": "0" * 16}, 410, "the run has gone on"),
        ({"more": 1}, 400, "more: extra inputs are not permitted"),
    ],
)
def test_a_ballot_that_is_none_is_refused_with_the_reason(change, status, said, ann, tmp_path):
    ballot = {"group": ann.state()["group"]["id"], "voter": "Ann", "ranking": []} | change
    found, _, text = ann.ask("vote", json.dumps(ballot).encode())
    assert (found, votes.read(tmp_path)) == (status, [])
    assert text.decode().startswith(said)


def test_a_body_that_is_too_large_is_not_read(ann):
    assert ann.ask("vote", b"", Content_Length=str(server._LARGEST + 1))[0] == 404


def test_a_vote_that_cannot_be_kept_is_not_counted_and_says_why(ann, tmp_path):
    (tmp_path / "votes").write_text("in the way")
    status, said = ann.vote(ann.state()["group"]["id"], [2], [1], [0])
    assert status == 507
    assert "votes.jsonl cannot be written" in said
    assert ann.state()["votes"] == 0


def test_the_server_ends_with_the_run(tmp_path, person):
    reward = Human(port=0)
    with reward.beside(tmp_path):
        ann = person(reward.address)
        assert ann.ask("")[0] == 200
    assert reward.address is None
    with pytest.raises(OSError, match="refused"):
        ann.ask("")


def test_an_address_that_is_taken_is_a_mistake_of_one_line(reward):
    taken = int(reward.address.split(":")[2].split("/")[0])
    with pytest.raises(AddressError, match=f"host 127.0.0.1, port {taken}: cannot listen there"):
        Human.check_start({"port": taken})
    Human.check_start({"port": 0})


def test_what_the_images_were_edited_from_is_shown_too(ann, reward):
    source = Prompt("edit", inputs=(ImageBytes("source", encoded(flat("red", (600, 300)))),))
    reward.expect(torch.rand(2, 3, 4, 4), source)
    for seen in ("cat", "dog"):
        group = ann.state()["group"]
        assert (group["prompt"], group["inputs"]) == (seen, 0)
        ann.vote(group["id"])
    group = ann.state()["group"]
    assert group["inputs"] == 1
    picture = Image.open(BytesIO(ann.ask(f"input/{group['id']}/0.png")[2]))
    assert (picture.size, picture.getpixel((0, 0))) == ((384, 192), (255, 0, 0))
    assert ann.ask(f"input/{group['id']}/1.png")[0] == 404


def test_images_are_what_the_run_has_made_to_8_bits(ann, reward, tmp_path):
    pictures = ann.pictures(ann.state()["group"])
    assert [image.shape for image in pictures] == [(4, 4, 3)] * 3
    assert all(np.ptp(image) == 0 for image in pictures)
