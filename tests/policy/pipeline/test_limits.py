"""How much of a prompt the encoders of a pipeline read."""

import pytest

from zoo.policy.pipeline.policy import Diffusers


def limits(options, **changes):
    found = Diffusers.text_limits(
        {"revision": None, "variant": None, "without": (), **options, **changes}
    )
    return {limit.encoder: limit for limit in found}


def test_clip_reads_what_it_was_trained_on_and_others_what_the_call_is_told(tiny):
    found = limits(tiny("StableDiffusion3Pipeline"), max_text_tokens=48)
    assert {name: limit.tokens for name, limit in found.items()} == {
        "tokenizer": 77,
        "tokenizer_2": 77,
        "tokenizer_3": 48,
    }
    assert [limit.option for limit in found.values()] == [None, None, "max_text_tokens"]
    (count,) = found["tokenizer_3"].count(["a red cat on a mat " * 30])
    assert count > 48


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({"max_text_tokens": None}, 512),
        ({"max_text_tokens": 20}, 20),
        ({"max_text_tokens": None, "call": {"max_sequence_length": 30}}, 30),
    ],
)
def test_the_default_is_the_pipelines_own(tiny, changes, tokens):
    (limit,) = limits(tiny("QwenImagePipeline"), **changes).values()
    assert limit.tokens == tokens
    assert limit.option == "max_text_tokens"
