"""Rewards in another Python: real processes that die, hang, and say what they should not."""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.foreign import make_environment
from zoo.prompt import Prompt
from zoo.recipe.sections import Isolation
from zoo.reward.jpeg import JpegCompressibility
from zoo.reward.judge import Judge, WeightedReward
from zoo.reward.known_answers import require_known_answers, score_known_answers
from zoo.reward.outside.description import description
from zoo.reward.outside.isolated import IsolatedReward
from zoo.reward.outside.messages import pixels
from zoo.reward.outside.process import Worker, WorkerError
from zoo.reward.timed_call import RewardError

CPU = torch.device("cpu")
PROMPTS = [Prompt("one", {"digit": 1}), Prompt("three")]
TWO = torch.stack([torch.zeros(3, 4, 4), torch.full((3, 4, 4), 0.2)])


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> str:
    return make_environment(tmp_path_factory.mktemp("foreign") / "env")


def reward(python: str, name: str, **options) -> IsolatedReward:
    return IsolatedReward(CPU, python=python, name=name, options=options, start_timeout=60.0)


@pytest.fixture
def faulty(python, tmp_path):
    orders = tmp_path / "orders"
    orders.write_text("")
    return reward(python, "faulty", orders=str(orders)), orders


def verdict_of(made, retries=2, timeout=30.0):
    judge = Judge([WeightedReward("it", made)], timeout=timeout, retries=retries)
    judge.submit(TWO, PROMPTS, torch.tensor([0, 0]))
    try:
        return judge.finish()
    finally:
        judge.close()


def test_it_scores_in_another_environment(python):
    scores = reward(python, "brightness", scale=2.0).score(TWO, PROMPTS)
    torch.testing.assert_close(scores.value, torch.tensor([0.0, 0.4], dtype=torch.float64))
    assert scores.extras["length"].tolist() == [3.0, 5.0]
    assert scores.extras["digit"][0] == 1
    assert bool(scores.extras["digit"][1].isnan())


@pytest.mark.slow
def test_a_reward_of_zoo_itself_scores_the_same_isolated():
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images = (images * 255).round() / 255
    prompts = [Prompt("a")] * 3
    isolated = reward(sys.executable, "jpeg_compressibility", quality=80)
    direct = JpegCompressibility(quality=80).score(images, prompts)
    torch.testing.assert_close(isolated.score(images, prompts), direct.double())


def test_images_are_rounded_to_eight_bits_and_turned_channels_last():
    images = torch.tensor([-0.1, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 1.2])[:, None, None, None]
    assert pixels(images.expand(-1, 3, 2, 5))[:, 0, 0, 0].tolist() == [0, 0, 0, 1, 255, 255]
    assert pixels(torch.zeros(2, 7, 3, 4, 5)).shape == (2, 7, 4, 5, 3)


def test_images_are_left_as_they_were():
    images = TWO.clone()
    pixels(images)
    assert torch.equal(images, TWO)


def test_a_killed_worker_is_started_again_and_the_images_are_scored(faulty):
    made, orders = faulty
    first = made._worker.pid
    orders.write_text("once die")
    verdict = verdict_of(made)
    assert verdict.scores["it"].tolist() == [0.0, 1.0]
    assert verdict.retried == {"it": 1}
    assert made._worker.pid != first


def test_a_worker_that_keeps_dying_is_one_clear_line(faulty):
    made, orders = faulty
    orders.write_text("die")
    verdict = verdict_of(made, retries=1)
    assert bool(verdict.scores["it"].isnan().all())
    [line] = verdict.failures
    assert "was killed (SIGKILL: perhaps by the kernel, for want of memory)" in line
    assert "its last words: out of memory, dying" in line
    assert "(2 tries); its images are invalid" in line


def test_a_segmentation_fault_is_named(faulty):
    made, orders = faulty
    orders.write_text("segfault")
    with pytest.raises(WorkerError, match="died of SIGSEGV"):
        made.score(TWO, PROMPTS)


def test_a_worker_killed_from_outside_while_idle_is_started_again(faulty):
    made, _ = faulty
    os.kill(made._worker.pid, signal.SIGKILL)
    made._worker._process.wait()
    assert made.score(TWO, PROMPTS).tolist() == [0.0, 1.0]


@pytest.mark.slow
def test_a_worker_that_hangs_is_ended_and_tried_again(faulty):
    made, orders = faulty
    orders.write_text("once hang")
    verdict = verdict_of(made, timeout=3.0)
    assert verdict.scores["it"].tolist() == [0.0, 1.0]
    assert verdict.retried == {"it": 1}


@pytest.mark.slow
def test_a_worker_that_always_hangs_is_one_clear_line(faulty):
    made, orders = faulty
    orders.write_text("hang")
    verdict = verdict_of(made, retries=1, timeout=1.0)
    assert verdict.failures == ("reward 'it' took over 1 s (2 tries); its images are invalid",)
    orders.write_text("")
    assert verdict_of(made).scores["it"].tolist() == [0.0, 1.0]


def test_what_a_reward_raises_comes_back_in_a_line_and_the_worker_lives_on(faulty):
    made, orders = faulty
    first = made._worker.pid
    orders.write_text("raise")
    with pytest.raises(WorkerError, match=r"^RuntimeError: CUDA out of memory$"):
        made.score(TWO, PROMPTS)
    orders.write_text("")
    assert made.score(TWO, PROMPTS).tolist() == [0.0, 1.0]
    assert made._worker.pid == first


def test_nan_is_invalid_and_a_wrong_shape_stops_the_run(faulty):
    made, orders = faulty
    orders.write_text("nan")
    assert bool(verdict_of(made).scores["it"].isnan().all())
    orders.write_text("shape")
    with pytest.raises(RewardError, match=r"returned shape \[2, 2\] for 2 images"):
        verdict_of(made)


def test_what_is_no_number_is_an_error_of_the_reward(faulty):
    made, orders = faulty
    orders.write_text("text")
    with pytest.raises(WorkerError, match="ValueError: could not convert string"):
        made.score(TWO, PROMPTS)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "cannot build its reward: OSError: the weights are not on this disk"),
        ("absent", "cannot build its reward: NotFoundError: the reward 'absent' of"),
        ("no_reward", "NotFoundError: the reward 'no_reward' of foreign-rewards 1.5 is no reward"),
    ],
)
def test_a_reward_that_cannot_be_built_says_why(python, name, said, capfd):
    with pytest.raises(ValueError, match=said) as raised:
        reward(python, name)
    # For --debug: where it was raised, over there.
    assert "serve.py" in str(raised.value.__cause__.__cause__)
    assert "Traceback" not in capfd.readouterr().err


def test_a_worker_that_is_never_ready_is_ended(python):
    with pytest.raises(ValueError, match=r"was not ready within 0\.5 s"):
        IsolatedReward(CPU, python=python, name="hanging", options={}, start_timeout=0.5)


def test_a_python_that_is_not_there_or_has_no_worker_is_said(tmp_path):
    with pytest.raises(WorkerError, match=r"envs/x/bin/python' cannot be run .* zoo env create"):
        description("envs/x/bin/python", "brightness")
    bare = make_environment(tmp_path / "bare", worker=False)
    for ask in (
        lambda: description(bare, "brightness"),
        lambda: Worker(bare, "brightness", device="cpu", options={}, start_timeout=60.0),
    ):
        with pytest.raises(WorkerError, match="has no zoo-reward-worker; make its environment"):
            ask()


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("brigthness", "no package in .* registers the reward 'brigthness'; registered there: abs"),
        ("absent", "cannot be imported: AttributeError"),
        ("positional", "Positional takes 'scale: float = 1.0'; write def __init__"),
    ],
)
def test_a_reward_that_cannot_be_described_says_why(python, name, said):
    with pytest.raises(WorkerError, match=said):
        description(python, name)


def test_another_protocol_is_refused(tmp_path):
    python = make_environment(tmp_path / "env", worker=False)
    package = next((tmp_path / "env").glob("lib/*/site-packages")) / "zoo_reward_worker"
    import zoo_reward_worker

    package.mkdir()
    for file in Path(zoo_reward_worker.__file__).parent.glob("*.py"):
        text = file.read_text().replace("PROTOCOL = 1", "PROTOCOL = 0")
        (package / file.name).write_text(text)
    for ask in (
        lambda: description(python, "brightness"),
        lambda: Worker(python, "brightness", device="cpu", options={}, start_timeout=60.0),
    ):
        with pytest.raises(WorkerError, match=r"speaks protocol 0 and this zoo 1; make its env"):
            ask()


def test_known_answers_come_from_the_worker(python):
    [answer] = score_known_answers(reward(python, "brightness", scale=3.0), "it", CPU, 60)
    assert answer.right
    require_known_answers(reward(python, "brightness"), "it", CPU, 60)
    with pytest.raises(RewardError, match=r"it scored 0 where 0\.5 is known \(tolerance 0\.01\)"):
        require_known_answers(reward(python, "wrong"), "it", CPU, 60)


@pytest.mark.slow
def test_a_worker_ends_with_its_reward(python):
    made = reward(python, "brightness")
    pid = made._worker.pid
    del made
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.slow
def test_a_worker_ends_with_a_parent_that_is_killed_while_it_hangs(python, tmp_path):
    orders = tmp_path / "orders"
    orders.write_text("hang")
    code = (
        "import torch\n"
        "from tests.reward.outside.test_isolated import TWO, PROMPTS, reward\n"
        f"made = reward({python!r}, 'faulty', orders={str(orders)!r})\n"
        "print(made._worker.pid, flush=True)\n"
        "made.score(TWO, PROMPTS)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        watched = os.pidfd_open(pid)
        parent.kill()
    import select

    ended, _, _ = select.select([watched], [], [], 30)
    os.close(watched)
    assert ended


def test_a_recipes_isolation_has_a_time_to_start():
    assert Isolation(python="x").start_timeout == 300.0
