"""`zoo init`: the recipe that it writes, what it asks, and what it refuses."""

import errno
from collections import defaultdict

import pytest
from ruamel.yaml import YAML

from tests.plan.test_settings import a_footprint
from zoo import devices
from zoo.cli import init as command
from zoo.cli.init_recipe import (
    Wish,
    base_of,
    comments_of,
    draft,
    rewards_of,
    with_epochs,
    with_settings,
    write_out,
)
from zoo.plan import settings as settings_module
from zoo.plan.footprint import NoEstimateError
from zoo.plan.layout import Layout
from zoo.plan.settings import Settings
from zoo.recipe.recipe import load_recipe, recipe_from
from zoo.storage.files import WriteError

SD3 = Wish("sd3", "nft", ("pickscore",), 1, 80.0, 24.0, full=False)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory, on a machine without a GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "num_accelerators", lambda: 0)
    return tmp_path


@pytest.fixture
def dry_runs(monkeypatch):
    """In the place of dry runs what SD3.5 and FLUX come to, about; their recipes."""
    asked = []

    def footprint(recipe, processes):
        asked.append(recipe)
        share = 0.2 if recipe.engine.gradient_checkpointing else 1.0
        rows = recipe.engine.micro_batch
        flux = recipe.policy.options["pipeline"] == "FluxPipeline"
        return a_footprint(
            network=24 if flux else 5, training=(4 if flux else 2.1) * rows.train * share,
            sampling=0.3 * rows.sample, encoders=9.1,
        )  # fmt: skip

    monkeypatch.setattr(settings_module, "footprint", footprint)
    monkeypatch.setattr(command, "write_shapes", lambda *given: None)
    return asked


@pytest.mark.slow
def test_the_smallest_recipe_is_the_shipped_one_with_comments(zoo_here, folder):
    ended = zoo_here("init", "mine.yaml", "--model", "digits")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-3:] == [
        "wrote mine.yaml; next:", "  zoo check mine.yaml", "  zoo train mine.yaml"
    ]  # fmt: skip
    assert "reward: digit (--reward says otherwise)" in ended.out
    assert "gpus: 0 (--gpus says otherwise)" in ended.out
    mine, base = load_recipe(folder / "mine.yaml"), load_recipe("nft_digits")
    assert mine.resolved() == {**base.resolved(), "name": "mine"}
    text = (folder / "mine.yaml").read_text()
    assert "# The algorithm: zoo describe nft.\nobjective:" in text
    assert "while training" in text or "while evaluating" in text
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.slow
def test_one_large_card_trains_as_shipped_for_the_hours(zoo_here, folder, dry_runs):
    ended = zoo_here("init", "--model", "sd3", "--gpus", 1, "--gpu-memory", 80, "--hours", 0.02)
    assert ended.code == 0, ended.err
    recipe = load_recipe(folder / "my_sd3.yaml")
    assert recipe.policy.options["pretrained"] == "stabilityai/stable-diffusion-3.5-medium"
    engine = recipe.engine
    assert (engine.micro_batch.sample, engine.micro_batch.train) == (16, 8)
    assert (engine.gradient_checkpointing, engine.zero_stage, engine.processes) == (False, None, 1)
    # 72 s at 37.5% of 2.5e14 a second, of 1e15 an epoch.
    assert (recipe.epochs, recipe.eval.every, recipe.checkpoint.every) == (6, 1, 1)
    assert [each.name for each in recipe.eval.rewards] == ["pickscore", "image_reward"]
    assert recipe.data.train == "builtin:general/train"
    text = (folder / "my_sd3.yaml").read_text()
    assert "About 0.02 hours by the estimate" in text
    assert "of 80 GB a process" in text
    assert "It is gated: accept its terms" in text
    assert len(dry_runs) == 1


@pytest.mark.slow
def test_a_small_card_has_smaller_micro_batches_and_rewards_that_leave_it(
    zoo_here, folder, dry_runs
):
    words = ("--model", "sd3", "--gpu-memory", 24, "--reward", "pickscore", "--reward", "clipscore")
    ended = zoo_here("init", "small.yaml", *words)
    assert ended.code == 0, ended.err
    recipe = load_recipe(folder / "small.yaml")
    assert recipe.engine.micro_batch.train == 4
    assert [each.options["offload"] for each in recipe.rewards] == [True, True]
    assert "hours: 24.0 (--hours says otherwise)" in ended.out


def test_a_large_model_on_several_cards(zoo_here, folder, dry_runs):
    ended = zoo_here("init", "f.yaml", "--model", "flux", "--gpus", 8, "--gpu-memory", 80)
    assert ended.code == 0, ended.err
    recipe = load_recipe(folder / "f.yaml")
    assert (recipe.engine.processes, recipe.data.groups_per_epoch) == (8, 48)
    assert recipe.engine.zero_stage is None
    ended = zoo_here("init", "g.yaml", "--model", "flux", "--gpus", 8, "--gpu-memory", 24)
    assert ended.code == 0, ended.err
    assert load_recipe(folder / "g.yaml").engine.zero_stage == 3


def test_what_does_not_fit_is_one_line_and_no_file(zoo_here, folder, dry_runs):
    ended = zoo_here("init", "--model", "flux", "--gpus", 1, "--gpu-memory", 6)
    assert ended.code == 2
    (line,) = ended.lines
    assert line.startswith("error: nothing fits 6 GB a process: the least is ")
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_without_an_estimate_it_is_cautious_and_says_so(zoo_here, folder, monkeypatch):
    def unknown(recipe, processes):
        raise NoEstimateError("the model cannot be had")

    monkeypatch.setattr(settings_module, "footprint", unknown)
    ended = zoo_here("init", "--model", "some/model", "--gpus", 2, "--gpu-memory", 80)
    assert ended.code == 0, ended.err
    assert "warning: no estimate of memory and time (the model cannot be had)" in ended.out
    recipe = load_recipe(folder / "my_model.yaml")
    assert recipe.policy.options["pretrained"] == "some/model"
    assert (recipe.engine.micro_batch.train, recipe.engine.gradient_checkpointing) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "sd4"), "unknown model 'sd4'; did you mean 'sd3'? allowed: digits, scenes, "),
        (("--model", "flux", "--algorithm", "kto"),
         "no recipe for 'flux' ships with the algorithm 'kto'"),
        (("--model", "digits", "--reward", "digitt"), "unknown reward 'digitt'; did you mean"),
        (("--model", "sd3", "--reward", "pickscore", "--gpus", 0), "--gpus is 0, and 'sd3' needs"),
        (("my recipe.yaml", "--model", "digits"), "'my recipe' cannot name a run's folder"),
        (("there.yaml",), "there.yaml: there is a file already; name another: zoo init"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(zoo_here, folder, words, said):
    (folder / "there.yaml").write_text("mine")
    ended = zoo_here("init", *words)
    assert ended.code == 2
    (line,) = ended.lines
    assert said in line
    assert [path.name for path in folder.iterdir()] == ["there.yaml"]
    assert (folder / "there.yaml").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_asked(
    zoo_here, folder, dry_runs, monkeypatch
):
    (folder / "file").touch()
    ended = zoo_here("init", "file/mine.yaml", "--model", "sd3")
    assert (ended.code, ended.out, dry_runs) == (2, "", [])
    assert ended.lines == [
        "error: file/mine.yaml cannot be written: Not a directory; name another: zoo init "
        "OTHER.yaml"
    ]
    monkeypatch.setattr("os.access", lambda path, mode: False)
    ended = zoo_here("init", "mine.yaml", "--model", "sd3")
    assert (ended.code, ended.out, dry_runs) == (2, "", [])
    assert "mine.yaml cannot be written: Permission denied" in ended.err


def test_a_full_disk_is_one_line(zoo_here, folder, dry_runs, monkeypatch):
    def full(path, *given, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(command.Path, "mkdir", full)
        with pytest.raises(WriteError, match=r"x/mine\.yaml cannot be written: No space left"):
            command._write(folder / "x" / "mine.yaml", "")


def answer_at_a_terminal(monkeypatch, answers):
    """What is asked there; each question has its answers in turn, and then its default."""
    asked = []

    def prompt(question, default):
        asked.append(question)
        return next(left[question.split()[0]], default)

    left = defaultdict(lambda: iter(()), {key: iter(of) for key, of in answers.items()})
    for stream in (command.sys.stdin, command.sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(command.typer, "prompt", prompt)
    return asked


def test_at_a_terminal_a_wrong_answer_is_told_and_asked_for_again(monkeypatch, folder, capsys):
    answers = {"Model": ["digts", "digits"], "What": [" ", "digt", "digit"], "GPUs": [-1, 0]}
    asked = answer_at_a_terminal(monkeypatch, answers)
    command.init(None, command.Given())
    assert [question.split()[0] for question in asked] == [
        "Model", "Model", "What", "What", "What", "GPUs", "GPUs"
    ]  # fmt: skip
    said = capsys.readouterr().out
    for part in (
        "unknown model 'digts'; did you mean 'digits'?", "no reward is named",
        "did you mean 'digit'", "--gpus is -1: 0 or more",
    ):  # fmt: skip
        assert part in said
    assert load_recipe(folder / "my_digits.yaml").rewards[0].label == "digit"


@pytest.mark.slow
def test_at_a_terminal_it_asks_for_what_is_not_given(monkeypatch, folder, dry_runs):
    asked = answer_at_a_terminal(monkeypatch, {"GPUs": [2], "Hours": [0.01]})
    command.init(None, command.Given(model="sd3"))
    assert [question.split()[0] for question in asked] == ["What", "GPUs", "GB", "Hours"]
    assert load_recipe(folder / "my_sd3.yaml").engine.processes == 2


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("model", ["digits", "sd3", "flux", "scenes"])
def test_whatever_ships_for_a_model_is_a_base(model):
    with pytest.raises(Exception, match="there is: ") as refused:
        base_of(model, "none")
    algorithms = str(refused.value).rpartition("there is: ")[2].split(", ")
    assert "nft" in algorithms
    for algorithm in algorithms:
        base = base_of(model, algorithm)
        reward = "pickscore" if model in ("sd3", "flux") else "jpeg_compressibility"
        for full in (False, True):
            wish = Wish(model, algorithm, (reward,), 1, 24.0, None, full)
            data = with_epochs(draft(wish, base, "mine"), 30)
            assert recipe_from(data).epochs == 30


def test_the_text_reads_back_as_the_data():
    data = with_settings(draft(SD3, "nft_sd3_pickscore", "mine"), Settings(4, 2, True, Layout(2)))
    data["policy"]["odd"] = ["true", "a: b", 1e-05, None, {"x": "it's #1", "y": [True, -3]}]
    text = write_out(data, comments_of(SD3, "nft_sd3_pickscore", data, "It fits.", "Two."))
    assert YAML(typ="safe").load(text) == data
    assert data["engine"] == {
        "processes": 1, "micro_batch": {"sample": 4, "train": 2},
        "gradient_checkpointing": True, "zero_stage": 2,
    }  # fmt: skip


@pytest.mark.slow
def test_an_editing_model_keeps_its_prompts_and_rewards():
    base = base_of("Qwen/Qwen-Image-Edit-2509", "nft")
    wish = Wish("Qwen/Qwen-Image-Edit-2509", "nft", rewards_of(base), 8, 80.0, 24.0, full=False)
    data = draft(wish, base, "mine")
    assert not data["data"]["train"].startswith("builtin:general")
    assert data["rewards"]
