"""What a user gets wrong is said in one line, with exit code 2, and leaves nothing behind."""

import json
import re
import subprocess
import time

import pytest
import torch

from tests.runs import (
    RECIPES,
    ROOT,
    clean_environment,
    command,
    launcher_of,
    only_run,
    overrides,
    zoo,
)

NFT = RECIPES["nft"]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def require_nothing_but_a_log(folder, line):
    """A run's folder tells why it ended, and has no result."""
    assert (folder / "run.log").read_text().splitlines()[-1].endswith(line)
    assert (folder / "metrics.jsonl").read_text() == ""
    assert not (folder / "checkpoints").exists()


@pytest.fixture
def mistake(zoo_here, out):
    """Runs a command that must be refused; gives the one line.

    Of a run that has `begun` its folder stays, with the line in its log and nothing else of it.
    """

    def run(*arguments, begun=False):
        ended = zoo_here(*arguments)
        assert ended.code == 2, ended.err
        (line,) = ended.lines
        assert line.startswith("error: ")
        assert "Traceback" not in line
        assert "pydantic.dev" not in line
        assert "--debug" not in line
        if begun:
            require_nothing_but_a_log(only_run(out), line)
        else:
            assert not out.exists()
        return line.removeprefix("error: ")

    return run


@pytest.fixture
def recipe(tmp_path, out):
    """Writes a recipe that extends a shipped one; its own text starts on line 3."""

    def write(text, base=NFT):
        path = tmp_path / "mine.yaml"
        path.write_text(f"extends: {base}\noutput_dir: {out}\n{text}\n")
        return path

    return write


BAD_RECIPES = {
    "nonsense: 1": "3: unknown key 'nonsense'; .*allowed: name, seed",
    "sead: 1": "3: unknown key 'sead'; did you mean 'seed'",
    "optim:\n  lrr: 1": "4: unknown key 'optim.lrr'; did you mean 'lr'",
    "rewards:\n  - {name: digit}\n  - {name: digit, size: 3}": "5: unknown key 'rewards.1.size'",
    "sampler:\n  solver: {name: dpm2, ordr: 2}": "4: unknown key 'sampler.solver.ordr'",
    "seed: abc": "3: seed must be a whole number >= 0, not 'abc'",
    "optim: {lr: -1}": "3: optim.lr must be a number > 0, not -1",
    "data: {group_size: 2.5}": "3: data.group_size must be a whole number .*, not 2.5",
    "rewards: digit": "3: rewards must be a list .*, not 'digit'",
    "rewards: [{name: digitt}]": "3: unknown reward 'digitt'; did you mean 'digit'.*zoo list",
    "objective: {name: ntf}": "3: unknown objective 'ntf'; did you mean 'nft'",
    "sampler: {solver: {name: eulr}}": "3: unknown solver 'eulr'; did you mean 'euler'",
    "policy: {name: digits, checkpoint: 7}": "3: policy.checkpoint must be a path or null, not 7",
    "seed: 1\nseed: 2": "4: the key 'seed' is written twice",
    "seed: [1\noptim: 2": "4: this is not YAML",
    "sampler: {guidance: 2.0}": "3: sampler.guidance is 2.0 .*write sampler.guidance: 1.0",
    "data: {group_size: 1}": "3: data.group_size is 1, .*2 or more",
    "advantage:\n  mix: gdpo\n  std: group": "5: advantage.mix gdpo .*write advantage.std: global",
    "engine: {processes: 9}": "3: engine.processes is 9 .*engine.processes: 8 or fewer",
    "objective: {trained_steps: 11}": "3: .*trained_steps is 11, .*only 10 of the sampler's 10",
    "data:\n  train: no/such.txt": "4: data.train: prompt file 'no/such.txt' does not exist",
    "data:\n  eval: no/such.txt": "4: data.eval: prompt file 'no/such.txt' does not exist",
    "data: {train: 'builtin:digit/train'}": "3: .*did you mean 'digits/train'",
    "data: {train: prompts.pdf}": "3: .*neither a .txt, .*file nor builtin:NAME",
    "name: a/b": "3: name: 'a/b' cannot name a run's folder",
}


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("text", BAD_RECIPES)
def test_a_mistake_in_a_recipe_is_said_with_its_line_by_check_and_by_train(text, recipe, mistake):
    path = recipe(text)
    line = mistake("train", path)
    found = re.match(re.escape(f"{path}:") + BAD_RECIPES[text], line)
    assert found, line
    assert mistake("check", path) == line


def test_several_mistakes_are_a_line_each(recipe, zoo_here, out):
    path = recipe("seed: abc\noptim: {lrr: 1}")
    ended = zoo_here("train", path)
    assert ended.code == 2
    assert sorted(ended.lines) == [
        line for line in ended.lines if line.startswith((f"error: {path}:3", f"error: {path}:4"))
    ]
    assert len(ended.lines) == 2
    assert not out.exists()


def test_a_path_objective_refuses_an_ode_solver(recipe, mistake):
    line = mistake("train", recipe("sampler: {solver: {name: euler}}", RECIPES["flow_grpo"]))
    assert ":3: the objective 'flow_grpo' needs a StochasticSolver" in line
    assert "flow_sde" in line


@pytest.mark.parametrize("verb", ["check", "train"])
def test_more_pairs_than_a_group_has_are_refused(verb, recipe, mistake):
    path = recipe("objective: {pairs_per_group: 9}", RECIPES["dpo"])
    line = mistake(verb, path)
    assert line.startswith(f"{path}:3: ")
    assert "pairs_per_group is 9" in line
    assert "16 images" in line


def test_a_geometry_that_cannot_be_is_refused_before_processes_start(out, mistake):
    changed = overrides("nft", out, engine__processes=2, objective__trained_steps=9)
    started = time.perf_counter()
    line = mistake("train", NFT, *changed)
    assert line.startswith("-s objective.trained_steps=9: ")
    assert time.perf_counter() - started < 5  # two processes take longer to start


@pytest.mark.parametrize("verb", ["check", "train", "eval"])
def test_a_missing_recipe_is_said_with_the_nearest(verb, mistake):
    line = mistake(verb, ROOT / "recipes" / "nft_digit.yaml")
    assert "there is no such file; did you mean" in line
    assert "nft_digits.yaml" in line


def test_a_folder_a_binary_and_an_empty_file_are_no_recipes(tmp_path, mistake):
    assert "cannot be read" in mistake("train", tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in mistake("train", tmp_path / "binary.yaml")
    (tmp_path / "empty.yaml").touch()
    assert "the file is empty" in mistake("train", tmp_path / "empty.yaml")


def test_train_needs_a_recipe_or_a_run_and_not_both(tmp_path, mistake):
    assert "--resume RUN_DIR" in mistake("train")
    assert "not both" in mistake("train", NFT, "--resume", tmp_path)


def test_an_override_that_is_none_is_said(out, mistake):
    assert "has the form key=value" in mistake("train", NFT, "-s", "optim.lr")
    assert "list of 1" in mistake("train", NFT, "-s", "rewards.3.weight=1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n \n", "has no prompts"),
        ('{"prompt": "seven"}\n{"prompt": \n', ":2: not a JSON object"),
        ('{"text": "seven"}\n', ':1: each line is an object with a text "prompt"'),
        ("[1]\n", ":1: each line is an object"),
    ],
)
def test_a_broken_prompt_file_is_said_with_its_line(text, said, tmp_path, recipe, mistake):
    (tmp_path / "bad.jsonl").write_text(text)
    path = recipe(f"data: {{train: {tmp_path / 'bad.jsonl'}}}")
    line = mistake("train", path)
    assert line.startswith(f"{path}:3: data.train: ")
    assert said in line
    assert mistake("check", path) == line


def test_so_is_an_empty_list_of_prompts(tmp_path, recipe, mistake):
    (tmp_path / "empty.txt").write_text("\n \n")
    path = recipe(f"data: {{train: {tmp_path / 'empty.txt'}}}")
    line = mistake("train", path)
    assert "has no prompts" in line
    assert mistake("check", path) == line


def test_a_training_prompt_that_the_policy_cannot_read_is_said(tmp_path, recipe, mistake):
    (tmp_path / "a.jsonl").write_text('{"prompt": "a zebra", "digit": 7}\n')
    line = mistake("train", recipe(f"data: {{train: {tmp_path / 'a.jsonl'}}}"), begun=True)
    assert "unknown word 'zebra'" in line


@pytest.mark.parametrize("verb", ["train", "eval"])
def test_cuda_where_there_is_none_is_said(verb, recipe, mistake, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = recipe("engine: {device: cuda}")
    line = mistake(verb, path)
    assert line.startswith(f"{path}:3: engine.device is cuda")
    assert "auto or cpu" in line


def test_a_missing_policy_checkpoint_is_said(recipe, mistake):
    path = recipe("policy: {checkpoint: no/such.safetensors}")
    line = mistake("train", path)
    assert line.startswith(f"{path}:3: policy: ")
    assert "no/such.safetensors" in line


def test_a_reward_file_that_is_missing_or_lacks_the_function_is_said(tmp_path, recipe, mistake):
    file = tmp_path / "rewards.py"
    path = recipe(f"rewards: [{{name: python, path: '{file}:score'}}]")
    assert re.match(rf"{path}:3: rewards.0: .*rewards.py' does not exist", mistake("train", path))
    file.write_text("def other(images, prompts): ...\n")
    assert "has no function 'score'; it has: other" in mistake("train", path)
    file.write_text("def score(:\n")
    assert "cannot be imported: SyntaxError" in mistake("train", path)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return torch.zeros(len(images) + 1)", r"shape \[6\] for 5 images"),
        ("return torch.zeros(len(images), 1)", r"shape \[5, 1\] for 5 images"),
        ("return None", "returned (a )?NoneType"),
        ("return torch.full((len(images),), torch.nan)", "it returned NaN or infinity"),
        ("raise RuntimeError('out of ink\\nand more')", "raised RuntimeError: out of ink"),
        ("raise SystemExit(3)", "raised SystemExit: 3"),
    ],
)
def test_a_reward_that_never_works_stops_the_run_at_once(body, said, reward_file, out, mistake):
    line = mistake("train", NFT, *overrides("nft", out, **reward_file(body)), begun=True)
    assert "'mine'" in line or "my_reward.py" in line
    assert re.search(said, line), line


@pytest.mark.slow
def test_a_reward_that_hangs_for_ever_stops_the_run_and_the_process_ends(reward_file, out):
    hangs = reward_file("while True:\n    time.sleep(1)", "{timeout: 5, retries: 0}")
    started = time.perf_counter()
    ended = subprocess.run(
        command("train", NFT, *overrides("nft", out, **hangs)),
        capture_output=True, text=True, env=clean_environment(), cwd=ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "'mine' took over 5 s" in line
    require_nothing_but_a_log(only_run(out), line)
    assert time.perf_counter() - started < 90


def test_an_output_folder_that_cannot_be_is_said(tmp_path, out, mistake):
    (tmp_path / "file").touch()
    line = mistake("train", NFT, *overrides("nft", tmp_path / "file"))
    assert line.startswith(f"-s output_dir={tmp_path / 'file'}: ")
    line = mistake("sample", NFT, "-p", "seven", "--out", tmp_path / "file" / "x.png")
    assert "cannot be written" in line


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short finished run; tests copy what they damage."""
    from zoo.cli.train import train

    root = tmp_path_factory.mktemp("finished")
    changes = overrides("nft", root, epochs=1)[1::2]
    train(NFT, changes, None, None)
    return only_run(root)


@pytest.fixture
def run_folder(finished, tmp_path):
    import shutil

    return shutil.copytree(finished, tmp_path / "run")


def test_what_is_no_run_folder_cannot_be_resumed(tmp_path, mistake):
    for folder in (tmp_path, tmp_path / "nothing"):
        assert f"{folder} is not a run folder: it has no recipe.json" in mistake(
            "train", "--resume", folder
        )


@pytest.mark.slow
def test_a_run_without_a_checkpoint_cannot_be_resumed(run_folder, mistake):
    import shutil

    before = (run_folder / "metrics.jsonl").read_text()
    shutil.rmtree(run_folder / "checkpoints")
    assert "has no checkpoint" in mistake("train", "--resume", run_folder, "--epochs", 3)
    assert "has no checkpoint" in mistake("eval", run_folder)
    assert (run_folder / "metrics.jsonl").read_text() == before


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("damaged", ["tensors.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_said(damaged, run_folder, mistake):
    file = run_folder / "checkpoints" / "000001" / damaged
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    recipe, lines = (
        (run_folder / "recipe.json").read_text(),
        (run_folder / "metrics.jsonl").read_text(),
    )
    line = mistake("train", "--resume", run_folder, "--epochs", 3)
    assert f"{file} is damaged" in line
    assert "use an earlier checkpoint" in line
    assert "is damaged" in mistake("sample", run_folder, "-p", "seven")
    assert (run_folder / "recipe.json").read_text() == recipe
    assert (run_folder / "metrics.jsonl").read_text() == lines


def test_a_run_goes_on_only_with_what_may_change(run_folder, mistake):
    line = mistake("train", "--resume", run_folder, "-s", "objective.beta=1")
    assert "-s objective.beta=1" in line
    assert "engine, eval" in line
    assert "epochs must be a whole number" not in line


def test_a_damaged_recipe_of_a_run_is_said(run_folder, mistake):
    (run_folder / "recipe.json").write_text(json.dumps({"name": "x"})[:-3])
    assert "recipe.json" in mistake("train", "--resume", run_folder)


def test_a_checkpoint_that_is_not_there_is_said(run_folder, mistake):
    assert "000077" in mistake("eval", run_folder, "--epoch", 77)
    assert "only a run folder" in mistake("eval", NFT, "--epoch", 1)


def test_weights_that_a_run_has_not_are_said(run_folder, mistake):
    for verb in (["eval", NFT], ["sample", NFT, "-p", "seven"]):
        assert "--weights ema: this run has live, old, reference" in mistake(
            *verb, "--weights", "ema"
        )
        assert "allowed are live" in mistake(*verb, "--weights", "lives")


def test_a_word_that_the_model_does_not_know_is_said(mistake):
    line = mistake("sample", NFT, "-p", "seven", "-p", "a zebra")
    assert "unknown word 'zebra'" in line
    assert "seven, eight" in line


def test_unknown_names_are_said_with_the_nearest(mistake):
    assert "did you mean 'nft'?" in mistake("describe", "nftt")
    assert "nothing named 'nothing'" in mistake("describe", "nothing")
    assert "allowed: policies, samplers, solvers" in mistake("list", "nothing")
    assert "did you mean 'rewards'?" in mistake("list", "reward")
    assert "did you mean 'recipes'?" in mistake("list", "recipe")


def test_a_mistake_of_the_command_line_is_code_2_without_a_traceback(zoo_here):
    for arguments in (
        ["train", NFT, "--what"],
        ["trane"],
        ["describe"],
        ["train", NFT, "--epochs", 0],
    ):
        ended = zoo_here(*arguments)
        assert ended.code == 2
        assert "Error: " in ended.lines[-1]
        assert "Traceback" not in ended.err


def test_debug_shows_the_traceback(zoo_here):
    ended = zoo_here("train", "no.yaml", "--debug")
    assert ended.code == 2
    assert "Traceback" in ended.err
    assert ended.lines[-1].startswith("error: no.yaml: there is no such file")


def test_an_option_that_deepspeed_refuses_is_named_before_anything_starts():
    # A command of its own: DeepSpeed's log goes on to where it began, which a test's does not.
    wrong = "engine.deepspeed.zero_optimization.reduce_buket_size=5"
    ended = zoo("train", NFT, "-s", "engine.zero_stage=2", "-s", wrong, deepspeed=True)
    assert ended.returncode == 2
    line = ended.stderr.splitlines()[-1]
    assert line.startswith(f"error: -s {wrong}: engine.deepspeed: DeepSpeed refuses")
    assert "zero_optimization.reduce_buket_size" in line


def test_another_launcher_must_start_as_many_processes_as_the_recipe_says(zoo_here, monkeypatch):
    for name, value in launcher_of(1).items():
        monkeypatch.setenv(name, value)
    ended = zoo_here("train", NFT, "-s", "engine.processes=2")
    assert ended.code == 2
    assert ended.lines == [
        "error: -s engine.processes=2: engine.processes is 2 and the launcher started 1; "
        "write engine.processes: 1 or auto"
    ]
