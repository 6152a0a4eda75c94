"""`policy.lora.start` in runs: on every engine and number of processes, resumed and refused."""

import shutil

import pytest
import torch

from tests.exports import inputs
from tests.loras import adapted
from tests.runs import RECIPES, metrics, only_run, overrides, require_same_tensors, tensors, zoo
from zoo.policy import lora_files
from zoo.policy.weights import Lora

LORA = Lora(rank=8, alpha=16, targets=("attn.to_q", "attn.to_v"))
# No step of this size changes a float32 weight of a LoRA.
STILL = {"epochs": 1, "eval": "null", "optim__lr": 1e-30}


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    values, _ = adapted(LORA)
    lora_files.write_peft(folder, values, LORA)
    return folder, values


def options(folder, rank=8, **changes):
    start = f"{{rank: {rank}, alpha: 32, targets: [attn.to_q, attn.to_v], start: '{folder}'}}"
    return {"policy__lora": start, **changes}


LAYOUTS = {
    "plain": {},
    "two processes": {"engine__processes": 2},
    "ZeRO-2 on two": {"engine__processes": 2, "engine__zero_stage": 2},
    "ZeRO-3": {"engine__zero_stage": 3},
}
FAST = ("plain", "ZeRO-2 on two")


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(
    "layout",
    [pytest.param(each, marks=[pytest.mark.slow] * (each not in FAST)) for each in LAYOUTS],
)
def test_a_run_starts_there_on_every_engine(layout, lora, tmp_path):
    folder, values = lora
    changes = options(folder, **STILL, **LAYOUTS[layout])
    arguments = overrides("nft", tmp_path, **changes)
    sharded = "engine__zero_stage" in LAYOUTS[layout]
    ended = zoo("train", RECIPES["nft"], *arguments, deepspeed=sharded)
    assert ended.returncode == 0, ended.stderr
    found = tensors(only_run(tmp_path))
    for name, value in values.items():
        # The file's alpha is 16, the recipe's 32.
        wanted = value / 2 if ".lora_B." in name else value
        for which in ("live", "old", "ema"):
            assert torch.equal(found[f"{which}/{name}"], wanted)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(("changes", "probed"), [({}, True), ({"objective__ref_update": 0}, False)])
def test_dpo_starts_there_with_no_false_alarm(changes, probed, lora, zoo_here, tmp_path):
    changes = options(lora[0], **STILL, **changes)
    ended = zoo_here("train", RECIPES["dpo"], *overrides("dpo", tmp_path, **changes))
    assert ended.code == 0, ended.err
    assert "probe failed" not in ended.out + ended.err
    before, *_ = metrics(only_run(tmp_path))
    assert any("reference" in name for name in before) == probed


@pytest.mark.slow
def test_a_resumed_run_does_not_need_the_file_and_goes_on_where_it_was(lora, zoo_here, tmp_path):
    folder = shutil.copytree(lora[0], tmp_path / "lora")
    changes = options(folder, epochs=1, eval="null")
    ended = zoo_here("train", RECIPES["nft"], *overrides("nft", tmp_path / "out", **changes))
    assert ended.code == 0, ended.err
    run = only_run(tmp_path / "out")
    whole = shutil.copytree(run, tmp_path / "whole")
    assert zoo_here("train", "--resume", whole, "--epochs", 2).code == 0
    shutil.rmtree(folder)
    ended = zoo_here("train", "--resume", run, "--epochs", 2)
    assert ended.code == 0, ended.err
    require_same_tensors(run, whole)
    assert zoo_here("sample", run, "-p", "a seven", "-n", 1, "-o", tmp_path / "a.png").code == 0


@pytest.mark.slow
def test_what_an_export_of_a_run_is_another_starts_from(zoo_here, lora, tmp_path):
    from zoo.cli.train import train

    chosen = overrides("nft", tmp_path / "one", epochs=2, eval="null")[1::2]
    train(RECIPES["nft"], chosen, None, None)
    run = only_run(tmp_path / "one")
    saved = tensors(run)
    for form in ("peft", "diffusers"):
        out = tmp_path / form
        assert zoo_here("export", run, "-o", out, "--format", form, "--weights", "live").code == 0
        chosen = overrides("nft", tmp_path / f"from {form}", **STILL)[1::2]
        train(RECIPES["nft"], [*chosen, f"policy.lora.start={out}"], None, None)
        found = tensors(only_run(tmp_path / f"from {form}"))
        live = [name for name in saved if name.startswith("live/")]
        assert live
        assert all(torch.equal(found[name], saved[name]) for name in live)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("command", ["check", "train"])
def test_a_wrong_start_is_refused_with_its_place(command, lora, zoo_here, tmp_path):
    folder, _ = lora
    for changes, said in (
        (
            options(folder, rank=4),
            "has rank 8 and the recipe's has 4; write policy.lora: {rank: 8}",
        ),
        ({"policy__lora__start": folder}, "write policy.lora.targets: [to_q, to_v]"),
        (options(tmp_path), "has nothing; name a .safetensors file"),
    ):
        ended = zoo_here(command, RECIPES["nft"], *overrides("nft", tmp_path / "out", **changes))
        assert ended.code == 2
        (line,) = ended.lines
        assert line.startswith("error: -s policy.lora")
        assert ": policy.lora.start: " in line
        assert said in line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_check_reads_neither_the_weights_nor_the_hub(lora, zoo_here, tmp_path, monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError

    monkeypatch.setattr("zoo.policy.lora_files.LoraFile.tensor", refuse)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    for source in (lora[0], "someone/lora"):
        chosen = overrides("nft", tmp_path, **options(source))
        assert zoo_here("check", RECIPES["nft"], *chosen).code == 0


@torch.no_grad()
@pytest.mark.parametrize("init", ["gaussian", "kaiming"])
def test_however_a_lora_is_initialised_live_starts_at_the_base(init):
    from tests.loras import allocate, base

    weights = allocate(Lora(rank=8, alpha=16, init=init))
    live = weights.parameters()
    a = live["transformer_blocks.0.attn.to_q.lora_A.weight"]
    assert all(bool((p == 0).all()) == (".lora_B." in name) for name, p in live.items())
    assert torch.equal(weights(**inputs())[0], base()(**inputs())[0])
    # Uniform in [-1 / 8, 1 / 8] (kaiming of 64 inputs), or normal of deviation 1 / 8.
    assert (float(a.abs().max()) <= 0.125) == (init == "kaiming")
