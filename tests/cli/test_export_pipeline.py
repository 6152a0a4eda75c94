"""A whole network of a published model is exported with its pipeline, and can be trained again."""

import re
import shutil
from pathlib import Path

import pytest
import torch

from tests.runs import RECIPES, only_run, overrides, written
from tests.tiny_models import write_sd3
from zoo.policy.pipeline.policy import Diffusers
from zoo.prompt import Prompt
from zoo.run import checkpoint
from zoo.run import folder as run_dir

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_sd3(tmp_path_factory.mktemp("sd3") / "tiny")


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    from zoo.cli.train import train

    root = tmp_path_factory.mktemp("run")
    short = overrides(
        "nft", root, epochs=1, eval="null",
        policy=f"{{name: diffusers, {written(model)}, lora: null}}",
        rewards="[{name: jpeg_compressibility}]", data__groups_per_epoch=1, data__group_size=2,
        sampler__steps=2, optim__updates_per_epoch=1, optim__lr=1e-3,
    )  # fmt: skip
    train(RECIPES["nft"], short[1::2], None, None)
    return only_run(root)


def state(folder):
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode)
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def test_what_was_exported_is_read_again_with_the_weights_of_the_run(
    model, run, zoo_here, tmp_path, monkeypatch
):
    before, out = state(model["pretrained"]), tmp_path / "out"
    ended = zoo_here("export", run, "--out", out, "--weights", "live")
    assert ended.code == 0, ended.err
    assert "the whole pipeline for diffusers" in ended.out
    saved = checkpoint.load(run / "checkpoints" / "000001").tensors
    policy = Diffusers(CPU, **{**model, "pretrained": str(out), "lora": None})
    parameters = dict(policy.weights.network.named_parameters())
    assert all(torch.equal(p, saved[f"live/{name}"]) for name, p in parameters.items())
    untrained = Diffusers(CPU, **{**model, "lora": None})
    tables = [p.encode([Prompt("a cat")]).layout.tables[0] for p in (policy, untrained)]
    one, two = (table.encoded.replies[0][0] for table in tables)
    assert torch.equal(one, two)
    assert not all(
        torch.equal(p, parameters[name]) for name, p in untrained.weights.network.named_parameters()
    )
    (code,) = re.findall(r"```python\n(.*)```", (out / "README.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert torch.equal(names["pipeline"].transformer.proj_out.weight, parameters["proj_out.weight"])
    # The base is as it was; the other parts take no room of their own.
    assert state(model["pretrained"]) == before
    vae = "vae/diffusion_pytorch_model.safetensors"
    assert (out / vae).samefile(Path(model["pretrained"]) / vae)
    # And a later export takes the place of this one, or leaves what is not its own.
    assert zoo_here("export", run, "--out", out, "--weights", "old").code == 0
    assert state(model["pretrained"]) == before
    (out / "vae" / "notes.txt").touch()
    ended = zoo_here("export", run, "--out", out)
    assert (ended.code, ended.lines) == (
        2,
        [f"error: --out {out} holds vae/notes.txt, which no export wrote; name another folder"],
    )


@pytest.mark.slow
def test_parts_that_the_run_did_without_are_not_in_the_export(model, run, zoo_here, tmp_path):
    recipe = run_dir.recipe_of(run)
    without = shutil.copytree(run, tmp_path / "run")
    options = recipe.policy.settings.model_copy(
        update={"option_without": ("text_encoder_3", "tokenizer_3")}
    )
    policy = type(recipe.policy)(recipe.policy.cls, options)
    run_dir.goes_on(without, recipe.model_copy(update={"policy": policy}))
    out = tmp_path / "out"
    assert zoo_here("export", without, "--out", out).code == 0
    assert not (out / "text_encoder_3").exists()
    with pytest.raises(ValueError, match=r"has no text_encoder_3, tokenizer_3, of which a Sta"):
        Diffusers(CPU, **{**model, "pretrained": str(out)})
    Diffusers(
        CPU, **{**model, "pretrained": str(out), "without": ("text_encoder_3", "tokenizer_3")}
    )


def test_parts_on_another_disk_are_copied(model, monkeypatch, tmp_path):
    def another_disk(file, new):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", another_disk)
    Diffusers(torch.device("meta"), **model).write_rest(tmp_path)
    vae = Path("vae", "diffusion_pytorch_model.safetensors")
    assert (tmp_path / vae).read_bytes() == (Path(model["pretrained"]) / vae).read_bytes()
    assert not (tmp_path / vae).samefile(Path(model["pretrained"]) / vae)
    assert not (tmp_path / "transformer").exists()
