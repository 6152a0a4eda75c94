"""`zoo export`: what others load is what the run has, and nothing of the user's is overwritten."""

import json
import re
import shutil

import pytest
import torch

from tests.exports import bare, loaded, output, own_output
from tests.runs import RECIPES, only_run, overrides
from zoo.cli import export as export_module
from zoo.cli.export_folder import LIST
from zoo.cli.export_formats import DiffusersLora
from zoo.errors import UserError
from zoo.policy.lora_files import DIFFUSERS
from zoo.policy.weights import Lora
from zoo.run import folder as run_dir


def trained(root, algorithm, **changes):
    from zoo.cli.train import train

    wanted = {"epochs": 2, "eval": "null", **changes}
    train(RECIPES[algorithm], overrides(algorithm, root, **wanted)[1::2], None, None)
    return only_run(root)


@pytest.fixture(scope="module")
def lora_run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("lora"), "nft")


@pytest.fixture(scope="module")
def full_run(tmp_path_factory):
    changes = {"policy__lora": "null", "optim__lr": 1e-3}
    return trained(tmp_path_factory.mktemp("full"), "nft", **changes)


@pytest.fixture(scope="module")
def moved_reference_run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("dpo"), "dpo", epochs=1, objective__ref_update=1)


@pytest.fixture
def mistake(zoo_here):
    """Runs a command that must be refused; gives the one line."""

    def run(*arguments):
        ended = zoo_here("export", *arguments)
        assert ended.code == 2, ended.err
        (line,) = ended.lines
        return line.removeprefix("error: ")

    return run


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(
    "which", ["ema", *(pytest.param(each, marks=pytest.mark.slow) for each in ("live", "old"))]
)
@pytest.mark.parametrize(
    ("kind", "form"), [("lora", "diffusers"), ("lora", "peft"), ("full", "diffusers")]
)
def test_an_export_is_the_runs_own_network(kind, form, which, request, zoo_here, tmp_path):
    run = request.getfixturevalue(f"{kind}_run")
    out = tmp_path / "some" / "out"
    ended = zoo_here("export", run, "--out", out, "--format", form, "--weights", which)
    assert ended.code == 0, ended.err
    assert f"the {which} weights of {run}/checkpoints/000002" in ended.out
    wanted, network = own_output(run, which, 2), loaded(run, out, form)
    assert torch.equal(output(network), wanted)
    assert not torch.equal(wanted, output(bare(run)))
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("form", ["diffusers", "peft"])
def test_a_reference_that_moved_is_exported(form, moved_reference_run, zoo_here, tmp_path):
    run = moved_reference_run
    arguments = ("--format", form, "--weights", "reference")
    ended = zoo_here("export", run, "--out", tmp_path / "out", *arguments)
    assert ended.code == 0, ended.err
    wanted = own_output(run, "reference", 1)
    assert torch.equal(output(loaded(run, tmp_path / "out", form)), wanted)
    assert not torch.equal(wanted, output(bare(run)))


@pytest.mark.slow
def test_the_default_is_the_last_checkpoint_and_what_the_run_evaluates(
    lora_run, zoo_here, tmp_path
):
    for arguments, epoch in (([], 2), (["--epoch", 1], 1)):
        ended = zoo_here("export", lora_run, "-o", tmp_path / str(epoch), *arguments)
        assert f"the ema weights of {lora_run}/checkpoints/00000{epoch}" in ended.out
        network = loaded(lora_run, tmp_path / str(epoch), "diffusers")
        assert torch.equal(output(network), own_output(lora_run, "ema", epoch))
    zoo_here("export", lora_run, "-o", tmp_path / "live", "--weights", "live")
    files = [tmp_path / name / DIFFUSERS for name in ("1", "2", "live")]
    assert len({file.read_bytes() for file in files}) == 3


def test_a_run_without_ema_exports_its_live_weights(moved_reference_run, zoo_here, tmp_path):
    without = shutil.copytree(moved_reference_run, tmp_path / "run")
    recipe = run_dir.recipe_of(without)
    optim = recipe.optim.model_copy(update={"ema": None})
    run_dir.goes_on(without, recipe.model_copy(update={"optim": optim}))
    assert "the live weights" in zoo_here("export", without, "--out", tmp_path / "out").out


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    ("kind", "form"), [("lora", "diffusers"), ("lora", "peft"), ("full", "diffusers")]
)
def test_the_model_card_says_what_it_is_and_its_code_loads_it(
    kind, form, request, zoo_here, tmp_path, monkeypatch
):
    run = request.getfixturevalue(f"{kind}_run")
    zoo_here("export", run, "--out", tmp_path / "out", "--format", form)
    card = (tmp_path / "out" / "README.md").read_text()
    for row in (
        "recipe | nft_digits",
        "epoch | 2",
        "weights | ema, ",
        "made by | diffusion-rl-zoo",
    ):
        assert f"| {row}" in card
    assert "base model" not in card
    (code,) = re.findall(r"```python\n(.*)```", card, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {"network": bare(run)}
    exec(code, names)
    assert torch.equal(output(names["network"]), own_output(run, "ema", 2))


def test_a_pipeline_is_named_where_the_run_started_from_one():
    lines = DiffusersLora({}, Lora(), "someone/model").loading("out")
    assert "DiffusionPipeline" in lines[0]
    assert lines[1:] == (
        'pipeline = DiffusionPipeline.from_pretrained("someone/model")',
        'pipeline.load_lora_weights("out")',
    )
    assert "network.load_lora_adapter" in DiffusersLora({}, Lora(), "m.safetensors").loading("o")[1]


def test_a_policy_with_options_of_its_own_is_asked_for_its_lora(
    lora_run, zoo_here, tmp_path, monkeypatch
):
    monkeypatch.setattr("zoo.cli.export.lora_of", lambda recipe: None)
    zoo_here("export", lora_run, "--out", tmp_path / "out")
    network = loaded(lora_run, tmp_path / "out", "diffusers")
    assert torch.equal(output(network), own_output(lora_run, "ema", 2))


def test_an_earlier_export_is_replaced_whole(lora_run, zoo_here, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for form, files in (
        ("peft", {"README.md", "adapter_config.json", "adapter_model.safetensors"}),
        ("diffusers", {"README.md", DIFFUSERS}),
    ):
        ended = zoo_here("export", lora_run, "--out", out, "--format", form)
        assert ended.code == 0, ended.err
        assert {path.name for path in out.iterdir()} == files | {LIST}
        assert len({path.stat().st_mode for path in out.iterdir()}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_no_export_wrote_is_not_overwritten(lora_run, zoo_here, mistake, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "README.md").write_text("mine")
    line = mistake(lora_run, "--out", out)
    assert line == f"--out {out} holds README.md, which no export wrote; name another folder"
    assert (out / "README.md").read_text() == "mine"
    assert "which no export wrote" in mistake(lora_run, "--out", lora_run)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("notes.txt", "which no export wrote"),
        ("config.json", "which no export wrote"),
        ("more/model.safetensors", "which no export wrote"),
        ("README.md", "which was changed after the export"),
        (DIFFUSERS, "which was changed after the export"),
    ],
)
def test_what_was_put_into_an_export_stays(name, said, lora_run, zoo_here, mistake, tmp_path):
    exported = tmp_path / "exported"
    zoo_here("export", lora_run, "--out", exported)
    (exported / name).parent.mkdir(exist_ok=True)
    (exported / name).write_text("mine")
    line = mistake(lora_run, "--out", exported)
    assert line == f"--out {exported} holds {name}, {said}; name another folder"
    assert (exported / name).read_text() == "mine"
    assert (exported / DIFFUSERS).is_file()


def test_a_link_and_an_empty_folder_in_an_export_stay(lora_run, zoo_here, mistake, tmp_path):
    exported, others = tmp_path / "exported", tmp_path / "others"
    zoo_here("export", lora_run, "--out", exported)
    others.mkdir()
    for name, make in (
        ("samples", lambda path: path.symlink_to(others)),
        ("empty", lambda path: path.mkdir()),
    ):
        make(exported / name)
        assert f"holds {name}, which no export wrote" in mistake(lora_run, "--out", exported)
        assert (exported / name).is_dir()
        (exported / name).unlink() if name == "samples" else (exported / name).rmdir()
    assert zoo_here("export", lora_run, "--out", exported).code == 0


def test_an_export_whose_list_is_gone_or_damaged_stays(lora_run, zoo_here, mistake, tmp_path):
    exported = tmp_path / "exported"
    zoo_here("export", lora_run, "--out", exported)
    (exported / LIST).write_text("{")
    assert mistake(lora_run, "--out", exported).endswith("; name another folder")
    (exported / LIST).unlink()
    assert "holds README.md, which no export wrote" in mistake(lora_run, "--out", exported)
    # As versions wrote it that had no list.
    card = exported / "README.md"
    card.write_text(f"<!-- zoo export -->\n{card.read_text()}")
    line = mistake(lora_run, "--out", exported)
    assert "which an earlier version exported, without saying what it wrote" in line


def test_what_comes_to_the_folder_while_an_export_is_made_stays(lora_run, monkeypatch, tmp_path):
    out = tmp_path / "out"

    def interrupted(chosen, exported, name):
        out.mkdir()
        (out / "mine.txt").write_text("mine")
        return "card"

    monkeypatch.setattr("zoo.cli.export._card", interrupted)
    with pytest.raises(UserError, match=r"holds mine\.txt"):
        export_module.export(lora_run, out, "diffusers", None, None, None, private=False)
    assert (out / "mine.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failed_export_leaves_the_earlier_one(lora_run, zoo_here, mistake, tmp_path, monkeypatch):
    out = tmp_path / "out"
    zoo_here("export", lora_run, "--out", out)
    before = (out / DIFFUSERS).read_bytes()

    def full_disk(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    line = mistake(lora_run, "--out", out, "--weights", "live")
    assert line == f"--out {out} cannot be written: No space left on device"
    assert (out / DIFFUSERS).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_out_that_cannot_be_a_folder_is_said(lora_run, mistake, tmp_path):
    (tmp_path / "file").touch()
    assert mistake(lora_run, "--out", tmp_path / "file") == (
        f"--out {tmp_path / 'file'} is a file; name a folder"
    )
    assert "cannot be written" in mistake(lora_run, "--out", tmp_path / "file" / "out")


def test_unknown_weights_and_formats_are_said(lora_run, mistake, tmp_path):
    out = tmp_path / "out"
    line = mistake(lora_run, "--out", out, "--weights", "lives")
    assert line == "--weights lives: allowed are live, old, reference, ema, sampling"
    line = mistake(lora_run, "--out", out, "--format", "onnx")
    assert line == "--format onnx: allowed are diffusers, peft"
    assert not out.exists()


def test_weights_that_a_run_has_not_are_said(lora_run, full_run, moved_reference_run, mistake):
    for run in (lora_run, full_run):
        line = mistake(run, "--out", "unused", "--weights", "reference")
        assert line.startswith("--weights reference: ")
        assert line.endswith(
            "has live, old, ema: its reference never moved, so it is the model that the run "
            "started from"
        )
    line = mistake(moved_reference_run, "--out", "unused", "--weights", "old")
    assert line.startswith("--weights old: ")
    assert line.endswith("has live, reference, ema")


def test_a_pipeline_that_reads_no_lora_is_said(lora_run, zoo_here, mistake, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(lora_run, run)
    found = {"pipeline": "PixArtSigmaPipeline", "trained": ["transformer"]}
    (run / "model.json").write_text(json.dumps(found))
    line = mistake(run, "--out", tmp_path / "out")
    assert line.startswith("--format diffusers: PixArtSigmaPipeline has no load_lora_weights")
    assert not (tmp_path / "out").exists()
    assert zoo_here("export", run, "--out", tmp_path / "out", "--format", "peft").code == 0


def test_whole_networks_are_not_for_peft(full_run, mistake, tmp_path):
    line = mistake(full_run, "--out", tmp_path / "out", "--format", "peft")
    assert "use --format diffusers" in line
    assert not (tmp_path / "out").exists()


def test_a_whole_network_that_is_not_of_diffusers_is_said(full_run, mistake, tmp_path, monkeypatch):
    from torch import nn

    monkeypatch.setattr("zoo.policy.digits.new_network", lambda: nn.Linear(2, 3))
    monkeypatch.setattr("zoo.policy.digits._load", lambda modules, checkpoint: None)
    line = mistake(full_run, "--out", tmp_path / "out")
    assert "the policy 'digits' is a Linear, not a model of diffusers" in line


def test_what_has_no_such_checkpoint_is_said(lora_run, mistake, tmp_path):
    out = tmp_path / "out"
    for source in (tmp_path, tmp_path / "nothing", RECIPES["nft"]):
        assert "is not a run folder" in mistake(source, "--out", out)
    assert "000077: no such checkpoint" in mistake(lora_run, "--out", out, "--epoch", 77)
    without = shutil.copytree(
        lora_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints")
    )
    assert mistake(without, "--out", out) == f"{without} has no checkpoint yet"
    assert not out.exists()


def test_a_checkpoint_of_another_recipe_is_said(lora_run, full_run, mistake, tmp_path):
    mixed = shutil.copytree(lora_run, tmp_path / "rank")
    recipe = (mixed / "recipe.json").read_text()
    (mixed / "recipe.json").write_text(re.sub(r'"rank": 8', '"rank": 4', recipe))
    line = mistake(mixed, "--out", tmp_path / "out")
    assert "has A of rank 8 and B of rank 8, not A and B of rank 4" in line

    mixed = shutil.copytree(lora_run, tmp_path / "full")
    shutil.copy(full_run / "recipe.json", mixed)
    assert "has LoRA weights, its recipe no LoRA" in mistake(mixed, "--out", tmp_path / "out")
