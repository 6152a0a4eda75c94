"""Whole runs that scripts of people vote on, on the digits model."""

import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from http.client import IncompleteRead
from pathlib import Path

import pytest

from tests.runs import metrics
from tests.train_here import ONE_UPDATE, recipe
from zoo.data.prompts import load
from zoo.plan.preflight import geometry
from zoo.recipe.recipe import RecipeError, load_recipe
from zoo.run import checkpoint, votes
from zoo.run.tracker import open_tracker
from zoo.training.asking import asking_beside
from zoo.training.build import build
from zoo.training.loop import train
from zoo.training.state import Progress, restore

RECIPE = Path(__file__).parent.parent / "recipes" / "nft_digits_human.yaml"
BRIGHTER = "[{name: human, port: 0}]"


def short(**changes):
    changes = {"rewards": BRIGHTER, "epochs": 2, "data__group_size": 4, **changes}
    return recipe(RECIPE, **{**ONE_UPDATE, **changes})


def brighter(person, group):
    """The brightest is the best of all, the darkest the worst."""
    levels = [float(image.mean()) for image in person.pictures(group)]
    order = sorted(range(len(levels)), key=levels.__getitem__)
    return [[order[-1]], order[1:-1], [order[0]]]


@contextmanager
def voting(person, reward, most=10**6, after=lambda: None):
    """Inside, somebody votes for brighter on what is asked, `most` times; then comes `after`."""
    done, given = threading.Event(), []

    def vote():
        while not done.is_set() and len(given) < most:
            if reward.address is None:
                time.sleep(0.01)
                continue
            somebody = person(reward.address)
            # The run may end at any time, and its page with it.
            with suppress(OSError, IncompleteRead):
                group = somebody.state()["group"]
                if group is None:
                    time.sleep(0.01)
                    continue
                status, _ = somebody.vote(group["id"], *brighter(somebody, group))
                assert status == 200
                given.append(group["prompt"])
                after()

    thread = threading.Thread(target=vote, daemon=True)
    thread.start()
    yield given
    done.set()
    thread.join(20)


def run_here(made, out, person, *, resumed=False, **options):
    """Trains while somebody votes; where it came to, and the prompts that were voted on."""
    out.mkdir(exist_ok=True)
    run = build(made, resumed=resumed)
    progress = restore(run, checkpoint.latest(out))[0] if resumed else Progress()
    (judged,) = run.stages[0].collector.judge.rewards
    with (
        voting(person, judged.reward, **options) as given,
        open_tracker(out, made, progress.epoch) as tracker,
    ):
        trained = train(run, progress, tracker)
    return trained, given


@pytest.mark.slow
def test_a_run_waits_for_people_learns_from_them_and_keeps_what_they_said(person, tmp_path):
    before = time.monotonic()
    trained, given = run_here(short(), tmp_path / "run", person)
    assert time.monotonic() - before < 60, "it waited for its time and not for its votes"
    assert trained.progress.step == 2
    # Two groups an epoch; the model as it was is nobody's to judge.
    assert len(given) == 4
    start, *epochs = metrics(tmp_path / "run")
    assert start["reward/human/votes"] == 0
    assert [(line["reward/human"], line["reward/human/votes"]) for line in epochs] == [(0.5, 1)] * 2
    assert all(line["flat_groups"] == 0 for line in epochs)
    kept = votes.path_of(tmp_path / "run")
    assert [len(prompt.images) for prompt in load(str(kept))] == [4] * 4


@pytest.mark.slow
def test_an_epoch_without_votes_goes_on_and_says_that_nothing_was_learned(person, tmp_path):
    made = short(rewards="[{name: human, port: 0, wait: 0.1}]", epochs=1)
    run_here(made, tmp_path / "run", person, most=0)
    (_, line) = metrics(tmp_path / "run")
    assert (line["reward/human"], line["reward/human/votes"]) == (0.5, 0)
    assert line["flat_groups"] == 2
    assert "the rewards say nothing" in (tmp_path / "run" / "run.log").read_text()


@pytest.mark.slow
def test_a_run_that_is_interrupted_while_it_waits_leaves_at_once_and_asks_for_no_vote_again(
    person, tmp_path
):
    def leave():
        os.kill(os.getpid(), signal.SIGINT)

    out, before = tmp_path / "run", time.monotonic()
    trained, voted = run_here(short(), out, person, most=1, after=leave)
    assert time.monotonic() - before < 60
    assert (trained.signal, trained.progress.epoch) == (signal.SIGINT, 0)
    trained, rest = run_here(short(), out, person, resumed=True)
    assert (trained.signal, trained.progress.epoch) == (0, 2)
    assert len(voted) == 1
    assert len(rest) == 3
    assert [vote.prompt for vote in votes.read(out)] == [*voted, *rest]


def test_people_are_of_one_process():
    with pytest.raises(RecipeError, match=r"the reward 'human' asks people .* of one process.* 2;"):
        geometry(load_recipe(RECIPE), 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("eval.rewards=[]", "an evaluation would be scored by 'human'"),
        ("eval.rewards=[{name: human}]", "an evaluation would be scored by 'human'"),
        ("rewards=[{name: human, frames: mean}]", "shows people single images, no frames"),
        ("rewards=[{name: human, min_votes: 0}]", "min_votes"),
    ],
)
def test_what_people_cannot_be_asked_is_refused(change, said):
    with pytest.raises(RecipeError, match=said):
        load_recipe(RECIPE, [change])


def test_stages_have_one_page(tmp_path, capsys):
    made = short(stages="[{epochs: 1}, {epochs: 1, objective: {beta: 0.2}}]")
    with asking_beside(build(made), tmp_path):
        assert capsys.readouterr().out.count("people vote at http://127.0.0.1:") == 1


@pytest.mark.slow
def test_digits_learn_brighter_from_200_votes(person, tmp_path):
    made = recipe(RECIPE, rewards=BRIGHTER, eval="null", checkpoint__every=25)
    _, given = run_here(made, tmp_path / "run", person)
    assert len(given) == 200
    lines = metrics(tmp_path / "run")
    brightness = [line["collected/brightness"] for line in lines]
    before, after = sum(brightness[:3]) / 3, sum(brightness[-3:]) / 3
    # 0.31 to 0.98 when this was written.
    assert after > before + 0.4, (before, after)
