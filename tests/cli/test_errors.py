"""Running out of memory is said in one line that names what needs less of it."""

import pytest
import torch
from huggingface_hub import constants

from tests.runs import RECIPES, ROOT, overrides
from zoo.cli.errors import out_of_memory
from zoo.engine.plain import PlainEngine
from zoo.policy.digits import Digits
from zoo.policy.pipeline.policy import Diffusers

NFT = RECIPES["nft"]
SD3_RECIPE = ROOT / "recipes" / "nft_sd3_pickscore.yaml"


def raised(call):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        call()
    return caught.value


def test_what_torch_itself_says_on_the_cpu_is_known():
    said = out_of_memory(raised(lambda: torch.empty(2**60, dtype=torch.uint8)))
    assert said.startswith("out of memory on this machine (1152921504606846976 bytes more")


def test_another_error_is_left_alone():
    assert out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert out_of_memory(ValueError("tried to allocate 2 GiB")) is None
    assert out_of_memory(MemoryError()).startswith("out of memory on this machine: ")


def full(*args, **kwargs):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")


def decode(self, latents):
    full()


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("verb", [["eval"], ["sample", "-p", "seven"]])
@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("velocity", "while sampling (2.00 GiB more were wanted): fewer images at a time need "),
        ("decode", "while decoding (2.00 GiB more were wanted): fewer images at a time need "),
    ],
)
def test_images_that_do_not_fit_name_the_batch(method, said, verb, zoo_here, monkeypatch, tmp_path):
    monkeypatch.setattr(Digits, method, decode if method == "decode" else full)
    ended = zoo_here(verb[0], NFT, *verb[1:], "--out", tmp_path / "x.png")
    assert ended.code == 1
    (line,) = ended.lines
    assert line.startswith(f"error: out of memory on the GPU {said}")
    assert "-s engine.micro_batch.sample=N" in line
    assert ("policy.decode_batch" in line) == (method == "decode")
    assert "micro_batch.train" not in line


def test_training_that_does_not_fit_names_its_own_batch_before_an_image_is_made(
    zoo_here, monkeypatch, tmp_path
):
    monkeypatch.setattr(PlainEngine, "backward", full)
    monkeypatch.setattr(Digits, "decode", lambda self, latents: pytest.fail("an image was made"))
    ended = zoo_here("train", NFT, *overrides("nft", tmp_path, eval="null"))
    assert ended.code == 1
    (line,) = ended.lines
    assert "on the GPU while training (2.00 GiB more were wanted)" in line
    assert "-s engine.micro_batch.train=N" in line
    assert "-s engine.gradient_checkpointing=true" in line
    assert "micro_batch.sample" not in line


def test_debug_still_shows_where(zoo_here, monkeypatch):
    monkeypatch.setattr(Digits, "velocity", full)
    ended = zoo_here("eval", NFT, "--debug")
    assert "Traceback" in ended.err
    assert ended.lines[-1].startswith("error: out of memory on the GPU while sampling")


@pytest.mark.parametrize("words", [["--debug", "eval"], ["eval", "--debug"]])
def test_debug_may_stand_before_the_command(words, zoo_here, monkeypatch):
    monkeypatch.setattr(Digits, "velocity", full)
    assert "Traceback" in zoo_here(*words, NFT).err


def test_debug_may_stand_within_a_command_of_two_words(zoo_here, tmp_path):
    for words in (["--debug", "env", "create"], ["env", "--debug", "create"]):
        ended = zoo_here(*words, tmp_path / "none", "--python", "/no/python")
        assert "Traceback" in ended.err
        assert ended.code == 2


def test_who_tries_it_tiny_is_not_told_to(zoo_here, monkeypatch, tmp_path):
    # Another test may have left random weights in the cache.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    words = ["sample", SD3_RECIPE, "-p", "x", "-o", tmp_path / "x.png"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(Diffusers, "write_tiny", lambda folder, kind: {})
    told = zoo_here(*words)
    assert told.lines[-1].endswith("; to try the recipe without it: --tiny")
    told = zoo_here(*words, "--tiny")
    assert told.code == 2
    assert "to try" not in told.err
    assert told.lines[-1].endswith("or name files that are here")
