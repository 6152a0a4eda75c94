"""Starting from a LoRA: the network is the one that the file's own library makes of it."""

import json
import shutil

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from tests.data.hub_server import COMMIT, Hub, serving
from tests.exports import output
from tests.loras import COPIES, adapted, allocated, base, said_by, values
from zoo import lora_files
from zoo.lora_files import DIFFUSERS, PEFT, PEFT_CONFIG, LoraError
from zoo.policy.weights import Lora
from zoo.rollout import Weights

FOUR = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
LORA = Lora(rank=8, alpha=16, targets=FOUR)


def started(source, lora=LORA, *copies):
    weights = allocated(lora, *copies)
    lora_files.start_from(str(source), weights, copies)
    return weights


def by_peft(folder, **changes):
    """Two adapters, random, as PEFT itself saves them; the network with the default one."""
    from peft import LoraConfig, get_peft_model

    options = {"r": 8, "lora_alpha": 16, "target_modules": list(FOUR), **changes}
    network = get_peft_model(base(), LoraConfig(**options))
    network.add_adapter("old", LoraConfig(**options))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=draw))
    network.save_pretrained(folder)
    network.set_adapter("default")
    assert (output(network) - output(base())).abs().max() > 0.01
    return network


@pytest.mark.parametrize("named", ["checkpoint-30", "checkpoint-30/lora"])
def test_a_published_checkpoint_is_started_from(named, tmp_path):
    network = by_peft(tmp_path / "checkpoint-30" / "lora")
    assert (tmp_path / "checkpoint-30" / "lora" / "old" / PEFT).is_file()
    weights = started(tmp_path / named, LORA, *COPIES)
    for which in (Weights.LIVE, *COPIES):
        assert torch.equal(said_by(weights, which), output(network))
    assert torch.equal(said_by(weights, Weights.REFERENCE), output(base()))


def test_a_default_adapter_in_a_folder_of_its_own_is_found(tmp_path):
    network = by_peft(tmp_path / "default")
    assert torch.equal(output(started(tmp_path)), output(network))


def test_a_reference_that_moves_starts_at_live(tmp_path):
    network = by_peft(tmp_path)
    weights = started(tmp_path, LORA, Weights.REFERENCE)
    assert torch.equal(said_by(weights, Weights.REFERENCE), output(network))


@pytest.mark.parametrize("alpha", [1, 7, 16, 64])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_rslora": True},
        {"alpha_pattern": {"attn.to_q": 3, r".*0\.attn\.to_v": 40}},
        {"r": 3, "rank_pattern": {"to_q": 8, "to_k": 8, "to_v": 8, "to_out.0": 8}},
        {"lora_dropout": 0.0, "init_lora_weights": "gaussian"},
    ],
    ids=["plain", "rank-stabilised", "alphas by layer", "ranks by layer, all equal", "harmless"],
)
def test_the_scale_of_the_file_is_kept_whatever_the_recipe_s_alpha(changes, alpha, tmp_path):
    network = by_peft(tmp_path, **changes)
    weights = started(tmp_path, Lora(rank=8, alpha=alpha, targets=FOUR))
    torch.testing.assert_close(output(weights), output(network), rtol=0, atol=1e-6)


@pytest.mark.parametrize("write", [lora_files.write_peft, lora_files.write_diffusers])
@pytest.mark.parametrize("scale", [0.05, 300.0])
def test_what_was_exported_is_started_from_bit_for_bit(write, scale, tmp_path):
    tensors, _ = adapted(LORA, scale)
    write(tmp_path, tensors, LORA)
    live = values(started(tmp_path))
    assert live.keys() == tensors.keys()
    assert all(torch.equal(live[name], tensors[name]) for name in tensors)


def test_a_scale_that_is_no_power_of_two_costs_two_roundings_of_b_through_diffusers(tmp_path):
    lora = Lora(rank=3, alpha=10)
    tensors, _ = adapted(lora)
    lora_files.write_diffusers(tmp_path, tensors, lora)
    live = values(started(tmp_path, lora))
    for name, value in live.items():
        torch.testing.assert_close(value, tensors[name], rtol=2**-22, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_becomes_float32_as_it_is(dtype, tmp_path):
    tensors, _ = adapted(LORA)
    half = {name: value.to(dtype) for name, value in tensors.items()}
    lora_files.write_peft(tmp_path, half, LORA)
    for name, value in values(started(tmp_path)).items():
        assert value.dtype == torch.float32
        assert torch.equal(value, half[name].float())


def by_diffusers(folder, alpha, *, pipeline):
    """A LoRA as diffusers saves it: the pipeline with a prefix, the network without."""
    from diffusers import StableDiffusion3Pipeline
    from diffusers.training_utils import _collate_lora_metadata
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    network = base()
    network.add_adapter(LoraConfig(r=8, lora_alpha=alpha, target_modules=list(FOUR)))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=draw))
    if pipeline:
        StableDiffusion3Pipeline.save_lora_weights(
            folder,
            transformer_lora_layers=get_peft_model_state_dict(network),
            **_collate_lora_metadata({"transformer": network}),
        )
    else:
        network.save_lora_adapter(folder)
    return network


@pytest.mark.parametrize("pipeline", [True, False])
def test_the_alpha_in_the_header_of_diffusers_file_counts(pipeline, tmp_path):
    network = by_diffusers(tmp_path, 40, pipeline=pipeline)
    for source in (tmp_path, tmp_path / DIFFUSERS):
        torch.testing.assert_close(output(started(source)), output(network), rtol=0, atol=1e-6)
    found = lora_files.settings(str(tmp_path))
    assert (found["rank"], found["alpha"], set(found["targets"])) == (8, 40, set(FOUR))


@pytest.mark.parametrize("alpha", [None, 4.0])
def test_without_a_header_alpha_is_a_tensor_or_the_rank(alpha, tmp_path):
    network = by_diffusers(tmp_path, 8 if alpha is None else alpha, pipeline=True)
    tensors = load_file(tmp_path / DIFFUSERS)
    if alpha is not None:
        layers = {name.rpartition(".lora_")[0] for name in tensors}
        tensors |= {f"{layer}.alpha": torch.tensor(alpha) for layer in layers}
    other = tmp_path / "mine.safetensors"
    save_file(tensors, other)
    torch.testing.assert_close(output(started(other)), output(network), rtol=0, atol=1e-6)


def refusal(source, lora=LORA):
    with pytest.raises(LoraError, match=r"\w") as caught:
        started(source, lora)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_dora": True}, "PEFT's use_dora, which is not supported"),
        ({"bias": "lora_only"}, "trained biases too (bias: lora_only)"),
        ({"modules_to_save": ["proj_out"]}, "PEFT's modules_to_save, which is not supported"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights pissa, which changes the base"),
        ({"peft_type": "LOHA"}, "is LOHA, not LORA"),
        ({"some_new_option": 3}, "PEFT's some_new_option, which is not supported"),
        ({"lora_alpha": None}, "says no usable lora_alpha"),
        ({"alpha_pattern": {"(": 3}}, "says no usable lora_alpha"),
    ],
)
def test_what_a_configuration_says_is_heeded_or_refused(change, said, tmp_path):
    by_peft(tmp_path)
    config = json.loads((tmp_path / PEFT_CONFIG).read_text())
    (tmp_path / PEFT_CONFIG).write_text(json.dumps(config | change))
    assert said in refusal(tmp_path)


A, B = torch.zeros(8, 64), torch.zeros(64, 8)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"lora_unet_x.lora_down.weight": A}, "kohya's format ('lora_unet_x.lora_down.weight')"),
        ({"transformer.x.lora_magnitude_vector": A}, "is DoRA"),
        ({"transformer.x.lora_A.weight": A, "text_encoder.x.lora_A.weight": A}, "'text_encoder.x"),
        ({"transformer.x.lora_A.weight": A}, "'x' has A of rank 8, not A and B of one rank"),
        ({"x.weight": A}, "'x.weight' is not a LoRA weight"),
        ({"x.lora_A.weight": A, "x.lora_B.weight": B, "y.alpha": A}, "'y.alpha' and no LoRA of"),
        ({"x.lora_A.weight": A[None], "x.lora_B.weight": B}, "only matrices are supported"),
        ({"x.lora_A.weight": A.long(), "x.lora_B.weight": B}, "'x.lora_A.weight' is quantised"),
        (
            {"x.lora_A.weight": A, "x.lora_B.weight": B,
             "y.lora_A.weight": A[:4], "y.lora_B.weight": B[:, :4]},
            "layers of the ranks 4, 8, and a run's LoRA has one rank",
        ),
        ({"x.lora_A.weight": A, "x.lora_B.weight": B}, "another architecture: it has 'x', which"),
    ],
)  # fmt: skip
def test_tensors_that_are_not_such_a_lora_are_refused(tensors, said, tmp_path):
    save_file(
        {
            name: value.clone(memory_format=torch.contiguous_format)
            for name, value in tensors.items()
        },
        tmp_path / "a.safetensors",
    )
    assert said in refusal(tmp_path / "a.safetensors")


def test_another_rank_is_refused_with_what_to_write(tmp_path):
    by_peft(tmp_path)
    line = refusal(tmp_path, Lora(rank=32, alpha=64, targets=FOUR))
    assert line.endswith("has rank 8 and the recipe's has 32; write policy.lora: {rank: 8}")


def test_other_layers_are_refused_with_the_targets_to_write(tmp_path):
    by_peft(tmp_path)
    line = refusal(tmp_path, Lora(rank=8, alpha=16, targets=("attn.to_q", "attn.add_q_proj")))
    assert "it has 'transformer_blocks.0.attn.to_k'" in line
    assert "'transformer_blocks.0.attn.to_out.0', " in line
    assert "and 3 more, which the recipe does not train; it lacks" in line
    targets = line.partition("write policy.lora.targets: ")[2].strip("[]").split(", ")
    assert values(started(tmp_path, Lora(rank=8, alpha=16, targets=tuple(targets))))


def test_another_width_is_refused(tmp_path):
    tensors, _ = adapted(LORA)
    name = "transformer_blocks.1.attn.to_q.lora_A.weight"
    tensors[name] = tensors[name][:, :32]
    lora_files.write_peft(tmp_path, tensors, LORA)
    assert f"its '{name}' is of shape [8, 32], the policy's [8, 64]" in refusal(tmp_path)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    tensors, _ = adapted(LORA)
    tensors["transformer_blocks.1.attn.to_q.lora_A.weight"][0, 0] = torch.nan
    lora_files.write_peft(tmp_path, tensors, LORA)
    assert "are not finite" in refusal(tmp_path)


def test_places_without_a_lora_are_refused_with_what_they_have(tmp_path):
    assert "has nothing; name" in refusal(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert "it has notes.txt; name" in refusal(tmp_path)
    by_peft(tmp_path / "a")
    shutil.move(tmp_path / "a" / PEFT_CONFIG, tmp_path / "config.json")
    assert f"no {PEFT_CONFIG} beside its {PEFT}" in refusal(tmp_path / "a")
    (tmp_path / "a" / PEFT).write_bytes(b"cut short")
    (tmp_path / "a" / PEFT_CONFIG).write_text("{")
    assert "cannot be read" in refusal(tmp_path / "a")
    (tmp_path / "a" / PEFT).rename(tmp_path / "a" / "adapter_model.bin")
    for source in (tmp_path / "a", tmp_path / "a" / "adapter_model.bin"):
        assert "a pickle, which may run any code" in refusal(source)
    (tmp_path / "recipe.json").touch()
    assert f"is a run folder; write its weights first: zoo export {tmp_path}" in refusal(tmp_path)
    assert "is no file or folder here, and no OWNER/NAME" in refusal(tmp_path / "none")


def test_settings_are_those_that_make_the_same_layers(tmp_path):
    by_peft(tmp_path / "peft")
    found = lora_files.settings(str(tmp_path / "peft"))
    assert (found["rank"], found["alpha"]) == (8, 16)
    assert set(found["targets"]) == set(FOUR)
    short = lora_files.settings(str(tmp_path / "peft"), base())
    assert set(short["targets"]) == {"to_q", "to_k", "to_v", "to_out.0"}
    tensors, said = adapted(Lora(rank=8, alpha=4, targets=("1.attn.to_q", "attn.add_q_proj")))
    lora_files.write_diffusers(tmp_path, tensors, Lora(rank=8, alpha=4))
    whole = lora_files.settings(str(tmp_path))
    assert whole["targets"] == sorted({name.rpartition(".lora_")[0] for name in tensors})
    some = lora_files.settings(str(tmp_path), base())
    assert some["targets"] == ["1.attn.to_q", "add_q_proj"]
    for settings in (whole, some):
        lora = Lora(**settings | {"targets": tuple(settings["targets"])})
        torch.testing.assert_close(output(started(tmp_path, lora)), said)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with one LoRA that huggingface_hub takes for the real one, and an empty cache."""
    network = by_peft(tmp_path / "lora")
    found = Hub()
    found.repos["ann/lora"] = {"README.md": b"#", "weights.pt": b"x"} | {
        f"{folder}{name}": (tmp_path / "lora" / name).read_bytes()
        for folder in ("", "late/")
        for name in (PEFT, PEFT_CONFIG)
    }
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    with serving(found) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE",
            f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        )  # fmt: skip
        yield found, network


@pytest.mark.parametrize(
    "source",
    [
        "ann/lora",
        "ann/lora@v1",
        "ann/lora/late",
        f"ann/lora/late@{COMMIT}",
        f"ann/lora/late/{PEFT}",
    ],
)
def test_a_lora_of_the_hub_is_fetched_and_nothing_else(source, hub, monkeypatch):
    served, network = hub
    assert torch.equal(output(started(source)), output(network))
    assert not [path for path in served.requests if "weights.pt" in path]
    assert all("late" in path for path in served.requests if PEFT in path) == ("late" in source)
    asked = len(served.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(output(started(source)), output(network))
    assert len(served.requests) == asked


def test_what_the_hub_does_not_give_is_said(hub, monkeypatch):
    served, _ = hub
    served.repos["ann/cats"] = {"model.bin": b"x", "a/adapter_model.bin": b"x"}
    served.refused["ann/gated"] = (403, "GatedRepo")
    assert "neither a file or folder here nor a model on the Hub" in refusal("ann/none")
    assert "'ann/lora' has no revision 'v9'" in refusal("ann/lora@v9")
    assert "it has a/adapter_model.bin, model.bin; name" in refusal("ann/cats")
    assert "a pickle" in refusal("ann/cats/a")
    assert "is gated: accept its terms at http" in refusal("ann/gated")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "is not on this machine and the Hub cannot be reached" in refusal("ann/other")
