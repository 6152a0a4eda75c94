"""What the commands print, write and leave."""

import json
import subprocess
import sys

import pytest

from tests.runs import RECIPES, ROOT, clean_environment, metrics, only_run, overrides
from zoo import registry
from zoo.recipe.recipe import load_recipe
from zoo.storage.lock import LOCK

NFT = RECIPES["nft"]
LORA = "LoRA of rank 8 on 15 layers, 15,360 parameters\n"


def rows(text):
    """The table of `zoo check`: heading and what stands beside it, headings carried on."""
    found, heading = {}, ""
    for line in text.splitlines()[1:]:
        heading = line[:12].strip() or heading
        found.setdefault(heading, []).append(line[12:].strip())
    return found


@pytest.mark.slow
def test_check_prints_the_geometry(zoo_here):
    # 5 groups of 4 are 20 images: 3 steps each to collect; 2 times each to train, a forward of
    # old, of live with gradients and of the reference: 20 * 2 * 3. On two processes one has three
    # groups: 12 images in 2 micro-batches of 6, of 10 wanted on average.
    changed = overrides("nft", "unused", engine__processes=2)
    ended = zoo_here("check", NFT, *changed)
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"{NFT}: ok")
    table = rows(ended.out)
    assert table["trains"] == ["digits with nft on digit x 1"]
    assert table["processes"] == ["2"]
    assert table["an epoch"] == ["5 groups x 4 = 20 images, of 40 prompts"]
    assert table["sampling"] == ["2 micro-batches of 6 a process, 17% of it padding"]
    assert table["training"][0] == "40 rows in 2 updates"
    assert table["forwards"] == [
        "60 to collect",
        "120 to train, 40 with gradients",
        "180 an epoch, 720 in 4 epochs",
    ]
    assert table["evaluation"] == ["10 images of 10 prompts, every 2 epochs"]
    assert f"trained: {LORA}" in ended.out


@pytest.mark.slow
def test_check_counts_pairs(zoo_here):
    # 8 groups of 16, 4 pairs a group, 10 draws a pair; both images go through live and reference.
    table = rows(zoo_here("check", RECIPES["dpo"]).out)
    assert table["training"][0] == "320 rows in 4 updates"
    assert table["forwards"][:2] == [
        "1,280 to collect",
        "1,280 to train, 640 with gradients",
    ]


@pytest.mark.slow
def test_check_looks_at_all_recipes_and_fails_if_one_is_bad(tmp_path, zoo_here):
    bad = tmp_path / "bad.yaml"
    bad.write_text(f"extends: {NFT}\nseed: x\n")
    ended = zoo_here("check", NFT, bad, RECIPES["dpo"])
    assert ended.code == 2
    (line,) = ended.lines
    assert line.startswith(f"error: {bad}:2: seed must be")
    assert ended.out.count(": ok") == 2


def test_list_shows_every_component_and_can_show_one_kind(zoo_here):
    everything = zoo_here("list").out
    for kind in registry.KINDS:
        only = zoo_here("list", kind).out
        for entry in registry.entries(kind):
            assert entry.name in everything
            assert entry.name in only
        assert all(line.startswith(registry.SINGULAR[kind]) for line in only.splitlines()[1:])


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    "name", sorted({entry.name for kind in registry.KINDS for entry in registry.entries(kind)})
)
def test_describe_shows_every_component(name, zoo_here):
    ended = zoo_here("describe", name)
    assert ended.code == 0, ended.err
    assert f"{name}, " in ended.out
    assert "No description." not in ended.out
    assert "option" in ended.out


def test_help_and_list_import_no_torch():
    code = (
        "import sys\nfrom zoo.cli import main\n"
        "for words in (['--help'], ['train', '--help'], ['list'], ['list', 'rewards'],\n"
        "              ['list', 'recipes']):\n"
        "    sys.argv = ['zoo', *words]\n    assert main._run() == 0, words\n"
        "heavy = {'torch', 'numpy', 'diffusers', 'transformers', 'wandb', 'sklearn'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT,
        env=clean_environment(), timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for command in ("train", "check", "list", "describe", "eval", "sample"):
        assert command in done.stdout


@pytest.mark.slow
def test_a_run_folder_holds_recipe_environment_metrics_images_and_checkpoints(trained):
    run, changed = trained
    resolved = load_recipe(NFT, changed[1::2], 3).resolved()
    assert json.loads((run / "recipe.json").read_text()) == resolved
    assert load_recipe(run / "recipe.json").resolved() == resolved
    environment = json.loads((run / "environment.json").read_text())
    assert {"zoo", "python", "platform", "packages"} <= environment.keys()
    assert "diffusion-rl-zoo" in str(environment["packages"])
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "000001", "000002", "000003",
    ]  # fmt: skip
    pictures = {path.name for path in (run / "images").iterdir()}
    assert {f"epoch_{epoch:06}.png" for epoch in range(4)} < pictures
    assert [path.name for path in run.rglob("*") if path.name.startswith(".")] == [LOCK]


def test_metrics_have_a_line_an_epoch_from_before_any_update_on(trained):
    lines = metrics(trained[0])
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert [line["step"] for line in lines] == [0, 2, 4, 6]
    everywhere = {"reward", "reward/digit", "num_evals", "seconds", "peak_memory_gb", "eval/judge"}
    for line in lines:
        assert everywhere <= line.keys()
        assert all(isinstance(value, int | float) for value in line.values()), line
        assert line["peak_memory_gb"] > 0
    assert lines[0]["seconds"] == lines[0]["num_evals"] == 0
    assert "images_per_second" not in lines[0]
    assert all(line["images_per_second"] > 0 for line in lines[1:])
    for key in ("seconds", "num_evals"):
        assert lines[1][key] < lines[2][key] < lines[3][key]


@pytest.mark.slow
def test_overrides_and_epochs_change_a_run(zoo_here, tmp_path):
    changed = overrides("nft", tmp_path, eval="null", name="other", checkpoint__keep=1)
    ended = zoo_here("train", NFT, *changed, "--epochs", 2, "-s", "seed=7")
    assert ended.code == 0, ended.err
    assert ended.err == ""
    run = only_run(tmp_path)
    assert run.parent.name == "other"
    recipe = json.loads((run / "recipe.json").read_text())
    assert (recipe["seed"], recipe["epochs"], recipe["eval"]) == (7, 2, None)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["000002"]
    assert f"other: trains {LORA}" in ended.out
    assert f"run folder {run}" in ended.out

    again = zoo_here("train", "--resume", run)
    assert again.code == 0
    assert "has its 2 epochs; --epochs N goes on to more" in again.out
    longer = zoo_here("train", "--resume", run, "--epochs", 3, "-s", "checkpoint.keep=2")
    assert longer.code == 0, longer.err
    assert [line["epoch"] for line in metrics(run)] == [0, 1, 2, 3]
    assert json.loads((run / "recipe.json").read_text())["epochs"] == 3
