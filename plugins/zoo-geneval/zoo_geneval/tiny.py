"""Random models, a few hundred kB, in the layout of the published ones: for trying things out."""

from pathlib import Path

from zoo import seeds
from zoo_geneval.classes import CLASSES


def write_detector(folder: Path) -> None:
    """A Mask2Former with COCO's classes."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    backbone = SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2,
        drop_path_rate=0.0, out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=16, dim_feedforward=16, encoder_layers=1, decoder_layers=2,
        num_attention_heads=2, num_queries=8, id2label=dict(enumerate(CLASSES)),
        label2id={name: index for index, name in enumerate(CLASSES)},
    )  # fmt: skip
    with seeds.borrowed(0, "geneval tiny detector"):
        model = Mask2FormerForUniversalSegmentation(config)
    model.save_pretrained(folder)


def write_clip(folder: Path) -> None:
    """A CLIP with a tokenizer that spells every word out."""
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocab = {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    start, end = len(words), len(words) + 1
    config = CLIPConfig(
        text_config={
            **sizes, "vocab_size": len(vocab), "max_position_embeddings": 77,
            "bos_token_id": start, "eos_token_id": end, "pad_token_id": end,
        },
        vision_config={**sizes, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )  # fmt: skip
    with seeds.borrowed(0, "geneval tiny clip"):
        model = CLIPModel(config)
    for weight in model.parameters():
        # As drawn, nearly every object has the same colour.
        weight.data.mul_(4 if weight.ndim > 1 else 1)
    model.save_pretrained(folder)
    CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77).save_pretrained(folder)
