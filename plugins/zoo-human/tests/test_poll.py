"""Who is asked what, when a round is decided, and what a ranking is worth."""

import threading
import time

import pytest
import torch
from zoo_human.group import Group
from zoo_human.poll import Ballot, BallotError, GoneError, Options, Poll, preferences

from zoo.prompt import Prompt


def group(text, num=3):
    return Group.of(torch.linspace(0, 1, num).reshape(-1, 1, 1, 1).repeat(1, 3, 2, 2), Prompt(text))


A, B = group("a"), group("b")


def poll(wait=20.0, min_votes=1, known=(), asked=(A, B)):
    kept = []
    made = Poll(
        Options(wait, min_votes), lambda vote, pictures: kept.append((vote, pictures)), known
    )
    for each in asked:
        made.ask(each)
    return made, kept


def vote(to, on, *ranking, voter="Ann"):
    return to.vote(Ballot(group=on.id, voter=voter, ranking=ranking))


def shown(to, voter, at=""):
    found = to.view(voter, at)["group"]
    return found and found["prompt"]


@pytest.mark.parametrize(
    ("ranking", "worth"),
    [
        ([[2], [0, 3], [1]], (0.5, 0.0, 1.0, 0.5)),  # best and worst
        ([[3], [2], [0], [1]], (1 / 3, 0.0, 2 / 3, 1.0)),
        ([[1], [], [0, 2, 3]], (0.0, 1.0, 0.0, 0.0)),  # the best alone
        ([], (0.5, 0.5, 0.5, 0.5)),
        ([[0, 1, 2, 3]], (0.5, 0.5, 0.5, 0.5)),
    ],
)
def test_a_ranking_is_worth_1_to_0_evenly(ranking, worth):
    assert preferences(tuple(map(tuple, ranking)), 4) == pytest.approx(worth)


@pytest.mark.parametrize("ranking", [[[0], [1]], [[0], [1], [1, 2]], [[0], [1], [2, 3]]])
def test_a_ranking_has_each_image_once(ranking):
    with pytest.raises(BallotError, match="each of the 3 images once, from 0 to 2; this one has"):
        preferences(tuple(map(tuple, ranking)), 3)


def test_the_same_images_of_the_same_prompt_are_the_same_group_and_others_are_not():
    assert group("a").id == A.id
    assert len({A.id, B.id, group("a", num=4).id}) == 3
    assert A.names == B.names  # files of images are named by what is in them


def test_a_round_is_decided_when_each_group_has_its_answers_and_skips_are_such():
    to, kept = poll()
    decided = threading.Thread(target=to.answers, args=(A,))
    decided.start()
    vote(to, A, [0], [1], [2])
    decided.join(0.1)
    assert decided.is_alive(), "b was not answered"
    vote(to, B)
    decided.join(10)
    assert not decided.is_alive()
    assert to.answers(A).preference == (1, 0.5, 0)
    assert to.answers(B) is None
    assert [len(pictures) for _, pictures in kept] == [3, 3]


def test_several_people_are_merged_by_their_means_and_one_who_votes_again_is_counted_once():
    to, _ = poll(min_votes=3, asked=[A])
    for voter, best in (("Ann", 0), ("Ben", 2), ("Ann", 2)):
        vote(to, A, [best], [1], [2 - best], voter=voter)
    assert not to.view("Cid", "")["done"]
    vote(to, A, voter="Cid")
    assert to.view("Cid", "")["done"] == 1
    merged = to.answers(A)
    assert (merged.preference, merged.num_votes) == ((0, 0.5, 1), 2)


def test_after_its_time_a_round_goes_on_with_the_votes_that_it_has():
    to, _ = poll(wait=0.2, min_votes=2)
    vote(to, A, [0], [1], [2])
    before = time.monotonic()
    assert to.answers(A).num_votes == 1
    assert to.answers(B) is None
    assert 0.05 < time.monotonic() - before < 5


def test_a_run_that_is_to_stop_waits_no_longer():
    to, _ = poll(wait=1000)
    decided = threading.Thread(target=to.answers, args=(A,))
    decided.start()
    to.hurry()
    decided.join(10)
    assert not decided.is_alive()


def test_people_are_shown_what_others_leave_undone_and_keep_what_they_look_at():
    to, _ = poll()
    assert [shown(to, "Ann"), shown(to, "Ben"), shown(to, "Ann", A.id)] == ["a", "b", "a"]
    vote(to, A, [0], [1], [2], voter="Ann")
    assert shown(to, "Ann") == "b"
    vote(to, B, [0], [1], [2], voter="Ann")
    assert shown(to, "Ann") is None
    assert shown(to, "Ben", B.id) == "b", "it is decided, and Ben is still at it"


def test_a_vote_after_the_round_is_kept_and_said_to_be_late_and_one_after_the_next_is_not_taken():
    to, kept = poll()
    assert vote(to, A, [0], [1], [2])
    to.end_round()
    assert to.view("Ann", "")["group"] is None
    assert not vote(to, B, [0], [1], [2])
    to.ask(group("c"))
    assert not vote(to, B, [2], [1], [0])
    to.end_round()
    to.ask(group("d"))
    with pytest.raises(GoneError, match="the run has gone on"):
        vote(to, B, [0], [1], [2])
    assert len(kept) == 3


def test_what_was_voted_on_before_a_resume_is_not_asked_again():
    first, kept = poll()
    vote(first, A, [0], [1], [2])
    again, _ = poll(known=[vote for vote, _ in kept])
    assert again.view("Ann", "")["done"] == 1
    assert shown(again, "Ann") == "b"
    assert shown(again, "Ben") == "b"
    vote(again, B)
    assert again.answers(A).preference == (1, 0.5, 0)
