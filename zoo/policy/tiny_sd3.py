"""A pipeline of Stable Diffusion 3.5 Medium's layout with random weights: 2.5 MB, to try things on.

Everything that the real one has: two CLIP text encoders, T5, an autoencoder of 16 channels, dual
attention in the first block, the scheduler's shift of 3. What it draws is noise.
"""

from pathlib import Path
from typing import Any

from zoo import seeds

_WIDTH = 64
_START, _END = "<|startoftext|>", "<|endoftext|>"
_LETTERS = [chr(code) for code in range(ord("!"), ord("~") + 1)]


def write(folder: Path) -> None:
    """Writes the pipeline in diffusers' layout; the same weights every time."""
    import diffusers

    folder.mkdir(parents=True, exist_ok=True)
    clip_words, t5_words = _clip_tokenizer(), _t5_tokenizer()
    with seeds.borrowed(0, "tiny sd3"):
        pipeline: Any = diffusers.StableDiffusion3Pipeline(
            transformer=_transformer(),
            vae=_autoencoder(),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
            text_encoder=_clip_encoder(clip_words),
            tokenizer=clip_words,
            text_encoder_2=_clip_encoder(clip_words),
            tokenizer_2=clip_words,
            text_encoder_3=_t5_encoder(t5_words),
            tokenizer_3=t5_words,
        )
    pipeline.save_pretrained(folder)


def _transformer() -> Any:
    import diffusers

    network: Any = diffusers.SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=_WIDTH,
        caption_projection_dim=_WIDTH,
        pooled_projection_dim=_WIDTH,
        pos_embed_max_size=32,
        qk_norm="rms_norm",
        dual_attention_layers=(0,),
    )
    # As drawn, diffusers' last layer is so small that prompts make no difference.
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(2)
    return network


def _autoencoder() -> Any:
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
        shift_factor=0.0609,
        scaling_factor=1.5305,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _clip_tokenizer() -> Any:
    """Spells every word out."""
    from transformers import CLIPTokenizer

    words = [*_LETTERS, *(f"{letter}</w>" for letter in _LETTERS), _START, _END]
    vocabulary = {word: i for i, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def _clip_encoder(words: Any) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    width = _WIDTH // 2
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=width,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return CLIPTextModelWithProjection(config)


def _t5_tokenizer() -> Any:
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


def _t5_encoder(words: Any) -> Any:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=len(words),
        d_model=_WIDTH,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        tie_word_embeddings=False,
        is_encoder_decoder=False,
    )
    return T5EncoderModel(config)
