"""LoRAs in other programs' layouts, of known matrices: the adapters are these, or a refusal."""

import pytest
import torch
from safetensors.torch import save_file

from tests.loras import FOUR, LORA, started, values
from zoo.policy import lora_files
from zoo.policy.lora_files import LoraError
from zoo.policy.weights import Lora, WeightSets

RANK, WIDTH, WIDE = 4, 16, 64
DOUBLE, OURS = "double_blocks.0", "transformer_blocks.0"
KOHYA = {
    "img_attn.qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
    "txt_attn.qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
    "img_attn.proj": ["attn.to_out.0"],
    "txt_attn.proj": ["attn.to_add_out"],
    "img_mlp.0": ["ff.net.0.proj"],
    "img_mlp.2": ["ff.net.2"],
    "txt_mlp.0": ["ff_context.net.0.proj"],
    "txt_mlp.2": ["ff_context.net.2"],
}
XLABS = {
    "qkv_lora1": ["attn.to_q", "attn.to_k", "attn.to_v"],
    "qkv_lora2": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
    "proj_lora1": ["attn.to_out.0"],
    "proj_lora2": ["attn.to_add_out"],
}


def network():
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(
        in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH,
        axes_dims_rope=(2, 2, 4),
    )  # fmt: skip


def matrices(layer, outputs, *, rank=RANK):
    """Random ones of the widths of the layer, which `outputs` layers of ours share."""
    draw = torch.Generator().manual_seed(len(layer) + outputs)
    wide_in, wide_out = layer.endswith("mlp.2"), layer.endswith("mlp.0")
    down = torch.randn(rank, WIDE if wide_in else WIDTH, generator=draw)
    up = torch.randn(outputs * (WIDE if wide_out else WIDTH), rank, generator=draw)
    return down, up


def save(tensors, path):
    save_file({name: value.clone().contiguous() for name, value in tensors.items()}, path)
    return str(path)


def kohya(prefix, join, alpha, dtype=torch.float32):
    """A file's tensors, and what each layer of ours must be changed by, in float64."""
    tensors, wanted = {}, {}
    for layer, names in KOHYA.items():
        down, up = (matrix.to(dtype) for matrix in matrices(layer, len(names)))
        stem = join(f"{prefix}{DOUBLE}.{layer}")
        tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
        if alpha is not None:
            tensors[f"{stem}.alpha"] = torch.tensor(alpha)
        changes = (1 if alpha is None else alpha / RANK) * up.double() @ down.double()
        wanted |= zip(names, changes.chunk(len(names)), strict=True)
    return tensors, {f"{OURS}.{name}": change for name, change in wanted.items()}


def require_changes(source, wanted, alpha):
    """Starts from it, under a recipe of that alpha, and compares what every layer is changed by."""
    found = lora_files.settings(source, network())
    assert found["rank"] == RANK
    lora = Lora(rank=RANK, alpha=alpha, targets=tuple(found["targets"]))
    weights = WeightSets(network(), lora)
    weights.allocate((), seed=0)
    lora_files.start_from(source, weights, ())
    live = {name: value.double() for name, value in values(weights).items()}
    assert len(live) == 2 * len(wanted)
    for layer, change in wanted.items():
        ours = alpha / RANK * live[f"{layer}.lora_B.weight"] @ live[f"{layer}.lora_A.weight"]
        # Each matrix is rounded to float32 once by its scale: 6e-8 of every product.
        torch.testing.assert_close(ours, change, rtol=0, atol=1e-6 * float(change.abs().max()))


@pytest.mark.parametrize("alpha", [None, 4.0, 1.0, 3.0])
@pytest.mark.parametrize("ours", [4, 7])
def test_kohya_s_flux_layers_are_taken_over_with_their_alpha(alpha, ours, tmp_path):
    tensors, wanted = kohya("lora_unet_", lambda name: name.replace(".", "_"), alpha)
    require_changes(save(tensors, tmp_path / "a.safetensors"), wanted, ours)


def test_comfyui_s_dotted_names_are_the_same_layers(tmp_path):
    tensors, wanted = kohya("diffusion_model.", lambda name: name, 2.0)
    require_changes(save(tensors, tmp_path / "a.safetensors"), wanted, 16)


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "transformer."])
def test_layers_of_the_published_code_may_have_peft_s_matrices(prefix, tmp_path):
    tensors, wanted = kohya(prefix, lambda name: name, 3.0)
    as_peft = {
        name.replace("lora_down", "lora_A").replace("lora_up", "lora_B"): value
        for name, value in tensors.items()
    }
    require_changes(save(as_peft, tmp_path / "a.safetensors"), wanted, 5)


def test_bfloat16_is_scaled_in_float32(tmp_path):
    tensors, wanted = kohya(
        "lora_unet_", lambda name: name.replace(".", "_"), 3.0, dtype=torch.bfloat16
    )
    require_changes(save(tensors, tmp_path / "a.safetensors"), wanted, 7)


def test_xlabs_flux_layers_are_taken_over(tmp_path):
    tensors, wanted = {}, {}
    for layer, names in XLABS.items():
        down, up = matrices(layer, len(names))
        stem = f"{DOUBLE}.processor.{layer}"
        tensors |= {f"{stem}.down.weight": down, f"{stem}.up.weight": up}
        changes = (up.double() @ down.double()).chunk(len(names))
        wanted |= {f"{OURS}.{name}": part for name, part in zip(names, changes, strict=True)}
    down, up = matrices("qkv", 3)
    stem = "single_blocks.0.processor.qkv_lora"
    tensors |= {f"{stem}.down.weight": down, f"{stem}.up.weight": up}
    for name, part in zip("qkv", (up.double() @ down.double()).chunk(3), strict=True):
        wanted[f"single_transformer_blocks.0.attn.to_{name}"] = part
    require_changes(save(tensors, tmp_path / "a.safetensors"), wanted, 8)


def test_a_fused_layer_of_flux_s_own_width_is_split_into_its_four(tmp_path):
    draw = torch.Generator().manual_seed(1)
    down, up = torch.randn(2, 8, generator=draw), torch.randn(21504, 2, generator=draw)
    stem = "lora_unet_single_blocks_3_linear1"
    tensors = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    file = lora_files.open_lora(save(tensors, tmp_path / "a.safetensors"))
    names = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    for name, part in zip(names, up.split([3072, 3072, 3072, 12288]), strict=True):
        layer = f"single_transformer_blocks.3.{name}"
        assert torch.equal(file.tensor(f"{layer}.lora_A.weight", 1.0), down)
        assert torch.equal(file.tensor(f"{layer}.lora_B.weight", 1.0), part)


def test_what_was_trained_as_three_layers_and_saved_as_one_is_three_again(tmp_path):
    three = [matrices(f"{i}", 1, rank=2) for i in range(3)]
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {
        f"{stem}.lora_down.weight": torch.cat([down for down, _ in three]),
        f"{stem}.lora_up.weight": torch.block_diag(*(up for _, up in three)),
    }
    file = lora_files.open_lora(save(tensors, tmp_path / "a.safetensors"))
    assert file.rank == 2
    for name, (down, up) in zip("qkv", three, strict=True):
        assert torch.equal(file.tensor(f"{OURS}.attn.to_{name}.lora_A.weight", 1.0), down)
        assert torch.equal(file.tensor(f"{OURS}.attn.to_{name}.lora_B.weight", 1.0), up)


@pytest.mark.parametrize("spelling", ["lora.{}", "lora_{}"])
def test_diffusers_older_names_are_read_for_sd3_too(spelling, tmp_path):
    draw = torch.Generator().manual_seed(2)
    wanted = {
        f"transformer_blocks.{block}.{layer}.lora_{part}.weight": torch.randn(shape, generator=draw)
        for block in (0, 1)
        for layer in FOUR
        for part, shape in (("A", (8, 64)), ("B", (64, 8)))
    }
    tensors = {
        f"transformer.{name}".replace("lora_A", spelling.format("down")).replace(
            "lora_B", spelling.format("up")
        ): value
        for name, value in wanted.items()
    }
    live = values(started(save(tensors, tmp_path / "a.safetensors")))
    assert live.keys() == wanted.keys()
    for name, value in live.items():
        # Without an alpha the file's scale is 1, and the recipe's is 2.
        scale = LORA.alpha / LORA.rank if ".lora_B." in name else 1.0
        assert torch.equal(scale * value, wanted[name])


A, B = torch.ones(4, 16), torch.ones(16, 4)
PROJ = "lora_unet_double_blocks_0_img_attn_proj"


def layer(stem, alpha=None, down=A, up=B):
    alphas = {} if alpha is None else {f"{stem}.alpha": torch.tensor(alpha)}
    return {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up} | alphas


@pytest.mark.parametrize(
    ("tensors", "name", "said"),
    [
        (layer("lora_unet_joint_blocks_0_x_block_attn_qkv"), "joint_blocks_0", "has 16 rows"),
        (layer("lora_unet_joint_blocks_0_x_block_attn_ln"), "joint_blocks_0", "does not read"),
        (layer("lora_unet_double_blocks_99_img_attn_proj"), "double_blocks_99", "does not read"),
        (layer("lora_unet_transformer_blocks_0_attn_to_z"), "attn_to_z", "does not read"),
        (layer("lora_te1_text_model_encoder_layers_0_mlp_fc1"), "lora_te1", "of a text encoder"),
        ({f"{PROJ}.lora_down.weight": A}, PROJ, "not A and B of one rank"),
        (layer(PROJ) | {f"{PROJ}.dora_scale": A}, "dora_scale", "is DoRA"),
        (layer(PROJ) | {"lora_unet_x.hada_w1_a": A}, "hada_w1_a", "is LoHa"),
        (layer(PROJ) | {"lora_unet_x.lokr_w1": A}, "lokr_w1", "is LoKr"),
        (layer(PROJ) | {f"{PROJ}.diff_b": A}, "diff_b", "is not a LoRA weight: allowed are lora_A"),
        (layer(PROJ) | {"x.lora_A.weight": A}, "'x'", "not A and B of one rank"),
        (layer(PROJ) | layer("diffusion_model.double_blocks.0.img_attn.proj"), PROJ, "begin with"),
        (layer(PROJ) | layer("double_blocks.0.img_attn.proj"), OURS, "by two names"),
        (layer(PROJ) | {f"{PROJ}.lora_A.weight": A}, f"{PROJ}.lora_", "by two names"),
        (layer(PROJ, down=A[None]), PROJ, "only matrices are supported"),
        (layer(PROJ, down=A.long()), PROJ, "is quantised"),
    ],
)  # fmt: skip
def test_a_part_that_diffusers_would_leave_out_is_refused_by_its_name(
    tensors, name, said, tmp_path
):
    with pytest.raises(LoraError, match=r"a\.safetensors") as caught:
        lora_files.open_lora(save(tensors, tmp_path / "a.safetensors"))
    line = str(caught.value)
    assert name in line
    assert said in line
    assert "\n" not in line


def test_layers_that_the_network_has_not_are_refused_by_their_names(tmp_path):
    tensors = layer("lora_unet_double_blocks_7_img_attn_proj")
    source = save(tensors, tmp_path / "a.safetensors")
    weights = WeightSets(network(), Lora(rank=4, alpha=4, targets=("attn.to_out.0",)))
    weights.allocate((), seed=0)
    with pytest.raises(LoraError, match=r"it has 'transformer_blocks.7.attn.to_out.0', which"):
        lora_files.start_from(source, weights, ())
