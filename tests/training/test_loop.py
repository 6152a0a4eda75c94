"""The loop in this process: its order, what a bar counts, and each way to leave it."""

import signal
from contextlib import nullcontext
from itertools import groupby

import pytest
import torch

from tests.runs import RECIPES, metrics, without_clocks
from tests.train_here import recipe, train_here
from zoo.engine.interrupt import Interrupted
from zoo.engine.plain import PlainEngine
from zoo.policy.digits import Digits
from zoo.policy.weights import WeightSets
from zoo.reward.digits import Digit
from zoo.reward.judge import RewardError
from zoo.run import checkpoint
from zoo.run.sink import Sink
from zoo.run.tracker import RunFiles, Tracker
from zoo.training.build import build
from zoo.training.collect import PolicyError
from zoo.training.loop import RunError, train
from zoo.training.state import Progress, progress_of, restore

SHORT = {
    "epochs": 3, "data__groups_per_epoch": 3, "data__group_size": 4, "sampler__steps": 2,
    "optim__updates_per_epoch": 2, "eval__images_per_prompt": 1, "eval__steps": 2,
    "eval__every": 2, "checkpoint__every": 100, "checkpoint__best": "false",
    "engine__micro_batch": "{sample: 5, train: 4}",
}  # fmt: skip


PAIRS = {"objective__pairs_per_group": 1, "objective__draws_per_pair": 2}


class Listener(Sink):
    """Hears what a run says, in order; `act` is called before each step of a phase."""

    def __init__(self, act=lambda phase, epoch: None):
        self.heard, self._act, self._epoch, self._phase = [], act, 0, ""

    def say(self, text):
        self.heard.append(("say", text))

    def warn(self, text, *, again):
        self.heard.append(("warn", text))

    def record(self, metrics):
        self._epoch = metrics["epoch"]
        self.heard.append(("record", self._epoch))

    def begin(self, phase, steps):
        self._phase = phase
        self.heard.append((phase, steps))

    def step(self):
        self.heard.append(("step", self._phase))
        self._act(self._phase, self._epoch)

    def note(self, name, data):
        self.heard.append(("note", name))


def small(algorithm="nft", **changes):
    return recipe(RECIPES[algorithm], **{**SHORT, **changes})


def listen(out, act=lambda phase, epoch: None, progress=None, made=None, **changes):
    """Trains with files under `out`; what `train` returned and what was heard."""
    made = made or small(**changes)
    run, listener = build(made), Listener(act)
    out.mkdir(parents=True, exist_ok=True)
    if progress is not None:
        progress, _ = restore(run, progress)
    with Tracker(out, [RunFiles(out), listener]) as tracker:
        trained = train(run, progress or Progress(), tracker)
    return trained, listener.heard


def test_an_epoch_is_collected_learned_evaluated_and_recorded_in_this_order(tmp_path):
    trained, heard = listen(tmp_path / "run")
    # So short a run may also leave the range of the images before training.
    named = (name for name, _ in heard if name not in ("step", "warn", "picture"))
    order = [first for first, _ in groupby(named)]
    assert order == [
        "say", "collecting", "note", "evaluating", "record",  # the untrained model
        "collecting", "learning", "record",
        "collecting", "learning", "evaluating", "record",
        "collecting", "learning", "evaluating", "record", "note",  # the last one is evaluated
    ]  # fmt: skip
    assert [name for kind, name in heard if kind == "note"] == ["probes.json", "end.json"]
    assert (trained.progress.epoch, trained.signal, trained.end.reason) == (3, 0, "epochs")
    assert checkpoint.epochs(tmp_path / "run") == [3]


@pytest.mark.slow
def test_a_run_is_heard_of_before_anything_is_computed(tmp_path):
    _, heard = listen(tmp_path / "run", epochs=1)
    assert heard[0] == (
        "say", "measuring the untrained model: 3 groups of 4 images, then 10 to evaluate"
    )  # fmt: skip
    assert listen(tmp_path / "plain", epochs=1, eval="null")[1][0] == (
        "say", "measuring the untrained model: 3 groups of 4 images"
    )  # fmt: skip


@pytest.mark.slow
def test_a_bar_counts_every_micro_batch_of_its_phase(tmp_path):
    _, heard = listen(tmp_path / "run")
    phases, steps = [], []
    for name, value in heard:
        if name in ("collecting", "learning", "evaluating"):
            phases.append((name, value))
            steps.append(0)
        steps[-1:] = [steps[-1] + (name == "step")] if steps else []
    assert steps == [total for _, total in phases]
    # 12 images in micro-batches of 5 are 3; so many again, of rows, for each of two updates.
    assert phases[2:4] == [("collecting", 3), ("learning", 2 * 3)]
    assert phases[1] == ("evaluating", 2)


def test_an_interrupted_collection_saves_the_epochs_before_and_goes_on_as_if_it_never_was(
    tmp_path,
):
    def interrupt(phase, epoch):
        if (phase, epoch) == ("collecting", 2):
            signal.raise_signal(signal.SIGINT)

    trained, heard = listen(tmp_path / "run", interrupt)
    assert (trained.progress.epoch, trained.signal, trained.end) == (2, signal.SIGINT, None)
    # It leaves after that micro-batch, and nothing of the epoch is kept.
    assert heard[-2] == ("step", "collecting")
    assert heard[-1][1].startswith("stopping: saves at the next safe point")
    saved = checkpoint.latest(tmp_path / "run")
    assert saved.name == "000002"
    listen(tmp_path / "run", progress=saved)
    whole = train_here(small(), tmp_path / "whole")
    assert without_clocks(metrics(tmp_path / "run")) == without_clocks(whole)


@pytest.mark.slow
def test_an_interrupt_while_learning_finishes_the_epoch(tmp_path):
    sent = []

    def interrupt(phase, epoch):
        if phase == "learning" and not sent:
            sent.append(epoch)
            signal.raise_signal(signal.SIGTERM)

    trained, _ = listen(tmp_path / "run", interrupt)
    assert (trained.progress.epoch, trained.signal) == (1, signal.SIGTERM)
    assert [line["epoch"] for line in metrics(tmp_path / "run")] == [0, 1]
    assert checkpoint.epochs(tmp_path / "run") == [1]


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupted_evaluation_is_made_up_for_when_the_run_goes_on(at, tmp_path):
    """Also that of the last epoch, and where it is interrupted again."""
    learned = set()

    def interrupt(phase, epoch):
        if phase == "learning":
            learned.add(epoch)
        if phase == "evaluating" and len(learned) == at:
            signal.raise_signal(signal.SIGTERM)

    out, options = tmp_path / "run", {"eval__every": 1, "epochs": 2, "checkpoint__best": "true"}
    for attempt in range(2):
        before = {"progress": checkpoint.latest(out)} if attempt else {}
        trained, heard = listen(out, interrupt, **before, **options)
        assert (trained.progress.epoch, trained.signal, trained.end) == (at, signal.SIGTERM, None)
        assert [name for name, _ in heard][-2:] == ["step", "say"]
        assert [line["epoch"] for line in metrics(out)] == list(range(at))
        assert progress_of(checkpoint.latest(out)).unevaluated["epoch"] == at
    trained, heard = listen(out, progress=checkpoint.latest(out), **options)
    assert trained.end.reason == "epochs"
    assert heard[0][0] == "evaluating"
    whole = train_here(small(**options), tmp_path / "whole")
    assert str(without_clocks(metrics(out))) == str(without_clocks(whole))
    ended = [progress_of(checkpoint.latest(path)) for path in (out, tmp_path / "whole")]
    assert ended[0].watched == ended[1].watched
    assert ended[0].unevaluated is None


@pytest.mark.parametrize("phase", ["collecting", "evaluating"])
def test_an_interrupt_before_any_update_leaves_at_once_and_saves_nothing(phase, tmp_path):
    def interrupt(now, epoch):
        if now == phase:
            signal.raise_signal(signal.SIGINT)

    trained, heard = listen(tmp_path / "run", interrupt)
    assert (trained.progress, trained.signal) == (Progress(), signal.SIGINT)
    assert checkpoint.epochs(tmp_path / "run") == []
    assert ("record", 0) not in heard


def test_a_failing_evaluation_leaves_what_was_learned_recorded_and_saved(tmp_path):
    def fail(phase, epoch):
        if (phase, epoch) == ("evaluating", 1):
            raise OSError("no ink")

    with pytest.raises(OSError, match="no ink"):
        listen(tmp_path / "run", fail)
    lines = metrics(tmp_path / "run")
    assert [(line["epoch"], "eval/digit" in line) for line in lines] == [
        (0, True), (1, False), (2, False)
    ]  # fmt: skip
    assert checkpoint.epochs(tmp_path / "run") == [2]
    assert (tmp_path / "run" / "run.log").read_text() == "error: OSError: no ink\n"


@pytest.mark.slow
def test_a_failing_collection_leaves_the_epochs_before_it_saved(tmp_path, monkeypatch):
    score, calls = Digit.score, []

    def fail(self, images, prompts):
        calls.append(len(images))
        if len(calls) > 10:  # of three micro-batches before any update and in each epoch
            raise RuntimeError("no ink")
        return score(self, images, prompts)

    monkeypatch.setattr(Digit, "score", fail)
    with pytest.raises(RewardError, match="of the images are invalid for reward 'digit'"):
        listen(tmp_path / "run", eval="null", scoring="{retries: 0}")
    done = [line["epoch"] for line in metrics(tmp_path / "run")]
    assert len(done) > 1
    assert checkpoint.epochs(tmp_path / "run") == done[-1:]


@pytest.mark.slow
def test_a_model_whose_images_are_not_finite_is_named_and_its_checkpoint_passed_over(
    tmp_path, monkeypatch
):
    decode, calls = Digits.decode, []

    def breaks(self, latents):
        calls.append(len(latents))
        images = decode(self, latents)
        # Three micro-batches before any update and in each epoch.
        return images * torch.nan if len(calls) > 9 else images

    monkeypatch.setattr(Digits, "decode", breaks)
    made = small(eval="null", checkpoint__every=1)
    with pytest.raises(PolicyError, match=r"^100% of the images that the policy made are NaN"):
        listen(tmp_path / "run", made=made)
    assert checkpoint.epochs(tmp_path / "run") == [1, 2]
    assert checkpoint.latest(tmp_path / "run").name == "000001"
    (line,) = checkpoint.passed_over(tmp_path / "run")
    assert "000002 is passed over: 100% of the images that the policy made" in line


@pytest.mark.slow
def test_an_evaluation_of_broken_images_ends_the_run_and_saves_nothing_of_it(tmp_path, monkeypatch):
    decode, phases = Digits.decode, []

    def breaks(self, latents):
        broken = phases[-1:] == [("evaluating", 1)]
        return decode(self, latents) * (torch.nan if broken else 1)

    class Watch(Sink):
        epoch = 0

        def record(self, metrics):
            self.epoch = metrics["epoch"]

        def begin(self, phase, steps):
            phases.append((phase, self.epoch))

    monkeypatch.setattr(Digits, "decode", breaks)
    run, out = build(small(checkpoint__every=1)), tmp_path / "run"
    out.mkdir()
    with (
        pytest.raises(PolicyError, match="100% of the images"),
        Tracker(out, [RunFiles(out), Watch()]) as tracker,
    ):
        train(run, Progress(), tracker)
    assert checkpoint.epochs(out) == [1]


def test_dropped_updates_are_warned_of(tmp_path, monkeypatch):
    monkeypatch.setattr(PlainEngine, "update", lambda self, lr: float("inf"))
    with pytest.raises(RunError, match="no gradient was finite"):
        listen(tmp_path / "run", eval="null")
    log = (tmp_path / "run" / "run.log").read_text().splitlines()
    said = "warning: some updates were dropped: their gradient was not finite"
    assert sum(line.startswith(said) for line in log) == 3


def test_what_fails_before_any_update_leaves_a_folder_with_its_log_and_no_checkpoint(
    tmp_path, monkeypatch
):
    def fail(self, images, prompts):
        raise RuntimeError("no ink")

    made = small(scoring="{retries: 0}")
    run = build(made)
    monkeypatch.setattr(Digit, "score", fail)
    with (
        pytest.raises(RewardError, match="no ink"),
        Tracker(tmp_path, [RunFiles(tmp_path)]) as tracker,
    ):
        train(run, Progress(), tracker)
    (line,) = (tmp_path / "run.log").read_text().splitlines()
    assert line.startswith("error: 100% of the images are invalid for reward 'digit'")
    assert [path.name for path in tmp_path.iterdir()] == ["run.log"]


def test_a_run_that_learns_nothing_for_three_epochs_is_ended_and_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(Digit, "score", lambda self, images, prompts: images.new_ones(len(images)))
    monkeypatch.setattr("zoo.training.components.require_known_answers", lambda *args: None)
    with pytest.raises(RunError, match="in the last 3 epochs: no image carried a signal"):
        # Where a group's images are equal, DPO has no pair of them; NFT would learn from all.
        listen(tmp_path / "run", made=small("dpo", epochs=9, eval="null", **PAIRS))
    assert checkpoint.epochs(tmp_path / "run") == [3]
    assert "some updates were passed over" in (tmp_path / "run" / "run.log").read_text()


@pytest.mark.slow
def test_a_reward_that_says_nothing_is_warned_of_though_nft_learns_from_all(tmp_path, monkeypatch):
    monkeypatch.setattr(Digit, "score", lambda self, images, prompts: images.new_ones(len(images)))
    monkeypatch.setattr("zoo.training.components.require_known_answers", lambda *args: None)
    trained, _ = listen(tmp_path / "run", epochs=1, eval="null")
    assert trained.progress.step == 2
    for line in metrics(tmp_path / "run"):
        assert (line["flat_groups"], line["flat_groups_share"]) == (3, 1.0)
    assert "the rewards say nothing" in (tmp_path / "run" / "run.log").read_text()


@pytest.mark.slow
def test_a_reward_that_says_something_is_not_warned_of(tmp_path):
    listen(tmp_path / "run", epochs=2, eval="null")
    assert [line["flat_groups"] for line in metrics(tmp_path / "run")] == [0, 0, 0]
    assert not (tmp_path / "run" / "run.log").exists()


def test_a_policy_that_never_switches_to_old_is_warned_of(tmp_path, monkeypatch):
    monkeypatch.setattr(WeightSets, "using", lambda self, which: nullcontext())
    listen(tmp_path / "run", epochs=1, eval="null")
    assert metrics(tmp_path / "run")[-1]["old_gap"] == 0
    assert "old_gap was exactly 0" in (tmp_path / "run" / "run.log").read_text()


def test_an_interrupt_is_no_error_of_the_run():
    assert not issubclass(Interrupted, RunError)
