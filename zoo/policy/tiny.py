"""Random parts of tiny models: CLIP's and T5's tokenizers and encoders, and SD3's transformer."""

from typing import Any

WIDTH = 64
"""Of T5's embeddings, and of the transformers."""
CLIP_WIDTH = WIDTH // 2

_START, _END = "<|startoftext|>", "<|endoftext|>"
_LETTERS = [chr(code) for code in range(ord("!"), ord("~") + 1)]


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
