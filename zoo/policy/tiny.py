"""Random models of the published layouts, small enough for a CPU: `--tiny`."""

from pathlib import Path
from typing import Any, Literal

from zoo import seeds

WIDTH = 64
"""Of T5's embeddings, and of the transformers."""
CLIP_WIDTH = WIDTH // 2

_START, _END = "<|startoftext|>", "<|endoftext|>"
Variant = Literal["dev", "schnell"]
"""Of FLUX.1."""

_LETTERS = [chr(code) for code in range(ord("!"), ord("~") + 1)]


def autoencoder(*, shift: float, scale: float) -> Any:
    """Of 3 x 8 x 8 pixels to 16 channels, with the latents' shift and scale of a family."""
    import diffusers

    return diffusers.AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=4,
        sample_size=64,
        shift_factor=shift,
        scaling_factor=scale,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def clip_tokenizer() -> Any:
    """Spells every word out."""
    from transformers import CLIPTokenizer

    words = [*_LETTERS, *(f"{letter}</w>" for letter in _LETTERS), _START, _END]
    vocabulary = {word: i for i, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def clip_config(words: Any) -> Any:
    """Of an encoder for that tokenizer."""
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=CLIP_WIDTH,
        intermediate_size=2 * CLIP_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=CLIP_WIDTH,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )


def t5_tokenizer() -> Any:
    """A letter a token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import T5TokenizerFast

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    words = Tokenizer(models.Unigram([*special, *((letter, -5.0) for letter in _LETTERS)], 2))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.decoder = decoders.Metaspace()
    words.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return T5TokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_ids=0,
    )


def t5_encoder(words: Any) -> Any:
    """An encoder for that tokenizer."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=len(words),
        d_model=WIDTH,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        tie_word_embeddings=False,
        is_encoder_decoder=False,
    )
    return T5EncoderModel(config)


def _clip(cls: Any) -> tuple[Any, Any]:
    """An encoder of a class of CLIP's, and its tokenizer."""
    words = clip_tokenizer()
    return cls(clip_config(words)), words


def _t5() -> tuple[Any, Any]:
    """An encoder, and its tokenizer."""
    words = t5_tokenizer()
    return t5_encoder(words), words


def _numbered(*encoders: tuple[Any, Any]) -> dict[str, Any]:
    """Encoders and their tokenizers as pipelines name them, the first without a number."""
    named: dict[str, Any] = {}
    for number, (encoder, words) in enumerate(encoders, start=1):
        end = "" if number == 1 else f"_{number}"
        named |= {f"text_encoder{end}": encoder, f"tokenizer{end}": words}
    return named


def options_of(folder: Path) -> dict[str, Any]:
    """Of a policy that loads one of these pipelines."""
    return {
        "pretrained": str(folder),
        "variant": None,
        "parts": None,
        "resolution": 64,
        "max_text_tokens": 32,
        "dtype": "float32",
    }


def write_sd3(folder: Path) -> None:
    """Writes SD3's pipeline in diffusers' layout; the same weights every time."""
    import diffusers
    from transformers import CLIPTextModelWithProjection

    folder.mkdir(parents=True, exist_ok=True)
    with seeds.borrowed(0, "tiny sd3"):
        pipeline: Any = diffusers.StableDiffusion3Pipeline(
            transformer=_louder(sd3_transformer(side=32, channels=16, positions=32, dual=(0,))),
            vae=autoencoder(shift=0.0609, scale=1.5305),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
            **_numbered(
                _clip(CLIPTextModelWithProjection), _clip(CLIPTextModelWithProjection), _t5()
            ),
        )
    pipeline.save_pretrained(folder)


def sd3_transformer(*, side: int, channels: int, positions: int, dual: tuple[int, ...]) -> Any:
    """Of two blocks, random: for latents of `side` rows, and `positions` tokens a side at most.

    The layers of `dual` attend a second time, to the image alone, as 3.5-Medium's first ones do.
    """
    import diffusers

    # diffusers has no types.
    transformer: Any = diffusers.SD3Transformer2DModel
    return transformer(
        sample_size=side,
        patch_size=2,
        in_channels=channels,
        out_channels=channels,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=WIDTH // 16,
        joint_attention_dim=WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        pos_embed_max_size=positions,
        qk_norm="rms_norm",
        dual_attention_layers=dual,
    )


def write_flux(folder: Path, variant: Variant = "dev") -> None:
    """Writes FLUX.1's pipeline in diffusers' layout; the same weights every time."""
    import diffusers
    from transformers import CLIPTextModel

    folder.mkdir(parents=True, exist_ok=True)
    # As in the published configurations.
    dev = variant == "dev"
    scheduler: Any = diffusers.FlowMatchEulerDiscreteScheduler(
        shift=3.0 if dev else 1.0, use_dynamic_shifting=dev
    )
    with seeds.borrowed(0, "tiny flux"):
        pipeline: Any = diffusers.FluxPipeline(
            transformer=_flux_transformer(guidance_embeds=dev),
            vae=autoencoder(shift=0.1159, scale=0.3611),
            scheduler=scheduler,
            **_numbered(_clip(CLIPTextModel), _t5()),
        )
    pipeline.save_pretrained(folder)


def _flux_transformer(*, guidance_embeds: bool) -> Any:
    import diffusers

    network: Any = diffusers.FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=WIDTH // 16,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 6, 6),
    )
    return _louder(network)


def _louder(network: Any) -> Any:
    """As drawn, diffusers' last layer is so small that prompts make no difference."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(2)
    return network
