"""Runs with rewards in another Python, as a user would start them."""

import pytest

from tests.foreign import make_environment
from tests.runs import RECIPES, metrics, only_run, overrides, zoo


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> str:
    return make_environment(tmp_path_factory.mktemp("foreign") / "env")


@pytest.fixture
def train(python, tmp_path):
    """Two epochs with one reward of the other environment; the command as it ended, and the run."""
    out = tmp_path / "out"

    def run(options, **changes):
        rewards = f"[{{{options}, label: mine, isolate: {{python: {python}}}}}]"
        short = overrides("nft", out, epochs=2, eval="null", rewards=rewards, **changes)
        return zoo("train", RECIPES["nft"], *short)

    run.out = out
    return run


def test_a_run_trains_with_a_reward_of_another_python(train):
    ended = train("name: brightness, scale: 2.0")
    assert ended.returncode == 0, ended.stderr
    run = only_run(train.out)
    first, second = metrics(run)[1:]
    assert first["reward/mine"] > 0
    assert second["reward/mine"] > 0
    # As what a library prints in the process itself.
    assert "brightness was built" in ended.stderr


@pytest.mark.slow
def test_a_groupwise_reward_gets_whole_groups(train):
    ended = train("name: spread")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
def test_two_processes_have_a_worker_each(train):
    ended = train("name: brightness", engine__processes=2)
    assert ended.returncode == 0, ended.stderr
    for log in ("run.log", "run_rank_1.log"):
        assert "brightness was built" in (only_run(train.out) / log).read_text()


@pytest.mark.slow
def test_a_run_survives_a_worker_that_is_killed_once(train, tmp_path):
    orders = tmp_path / "orders"
    orders.write_text("once die")
    ended = train(f"name: faulty, orders: {orders}")
    assert ended.returncode == 0, ended.stderr
    before, *_, last = metrics(only_run(train.out))
    assert before["retries/mine"] == 1
    assert last["total_invalid"] == 0


@pytest.mark.slow
def test_a_run_whose_worker_keeps_dying_ends_with_one_line(train, tmp_path):
    orders = tmp_path / "orders"
    orders.write_text("die")
    ended = train(f"name: faulty, orders: {orders}", scoring="{retries: 1}")
    assert ended.returncode == 2
    [line] = [line for line in ended.stderr.splitlines() if line.startswith("error")]
    assert "100% of the images are invalid for reward 'mine'" in line
    assert "was killed (SIGKILL" in line


def test_a_reward_with_wrong_known_answers_stops_the_run_before_it_begins(train):
    ended = train("name: wrong")
    assert ended.returncode == 2
    assert "reward 'mine' does not give its known answers: it scored 0 where 0.5" in ended.stderr
    assert not train.out.exists()


@pytest.mark.slow
def test_probe_compares_known_answers(zoo_here, python):
    isolate = ["-s", f"isolate.python={python}"]
    right = zoo_here("probe", "brightness", *isolate, "-s", "scale=2")
    assert right.code == 0
    assert "brightness  1              right" in right.out
    wrong = zoo_here("probe", "wrong", *isolate)
    assert wrong.code == 1
    assert "wrong: scored 0 where 0.5 is known (tolerance 0.01)" in wrong.out


def test_describe_shows_the_options_of_a_reward_in_another_python(zoo_here, python):
    ended = zoo_here("describe", "brightness", "--python", python)
    assert ended.code == 0
    assert "brightness, foreign-rewards 1.5 in" in ended.out
    assert "The mean brightness of an image." in ended.out
    assert "crop.where  'middle' or 'corner'" in ended.out
    missing = zoo_here("describe", "brigthness", "--python", python)
    assert missing.code == 2
    assert "registers the reward 'brigthness'; registered there: absent" in missing.err


def test_probe_says_what_is_wrong_with_a_name_or_an_option(zoo_here):
    for arguments, said in {
        ("jpg",): "the command line: unknown reward 'jpg'",
        ("jpeg_compressibility", "-s", "qualty=3"): "unknown key 'reward.qualty'; did you mean",
        ("no.yaml",): "no.yaml: there is no such file",
    }.items():
        ended = zoo_here("probe", *arguments)
        assert ended.code == 2
        assert said in ended.err


@pytest.mark.slow
def test_an_environment_is_not_made_over_another_or_from_nothing(zoo_here, tmp_path):
    (tmp_path / "there").mkdir()
    for arguments, said in {
        ("plugins/none",): "there is no plugin 'plugins/none'; the working directory is",
        ("plugins/zoo-example",): "has no requirements.lock in its package; one is needed",
    }.items():
        ended = zoo_here("env", "create", *arguments, "--out", tmp_path / "there")
        assert (ended.code, len(ended.lines)) == (2, 1), ended.err
        assert said in ended.err
    assert list((tmp_path / "there").iterdir()) == []
