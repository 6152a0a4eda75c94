"""Text encoders are asked as little as can be, and conditions point at what they made."""

import pytest
import torch
from torch import nn

from zoo.policy.latent import TextEncoders, guide, text_cond
from zoo.prompt import Prompt

CPU = torch.device("cpu")


class Placed(nn.Linear):
    """Notes where it is sent."""

    def __init__(self):
        super().__init__(1, 1)
        self.sent = []

    def to(self, device):
        self.sent.append(str(device))
        return super().to(device)


class Encoded:
    """Encoders whose embedding of a text is its length."""

    def __init__(self, kept):
        self.encoder, self.asked = Placed(), []
        self.tables = TextEncoders([self.encoder], self.encode, CPU, kept=kept)

    def encode(self, texts):
        self.asked.append(texts)
        length = torch.tensor([float(len(text)) for text in texts])
        return length[:, None, None].expand(-1, 3, 2), length[:, None]


def test_the_texts_used_last_are_kept():
    made = Encoded(kept=2)
    made.tables(["a", "bb"])
    made.tables(["a"])
    made.tables(["ccc"])
    assert made.asked == [["a", "bb"], ["ccc"]]
    made.tables(["a", "bb"])
    assert made.asked[2:] == [["bb"]]


def test_more_texts_than_are_kept_are_all_given():
    made = Encoded(kept=1)
    words, pooled = made.tables(["a", "bb", "ccc"])
    assert words.shape == (3, 3, 2)
    assert pooled.flatten().tolist() == [1, 2, 3]
    assert made.tables(["ccc"])[1].item() == 3
    assert len(made.asked) == 1


def test_encoders_are_on_the_device_while_they_encode_and_not_for_what_is_kept():
    made = Encoded(kept=99)
    texts = ["x" * (i + 1) for i in range(40)]
    _, pooled = made.tables(texts)
    assert [len(asked) for asked in made.asked] == [16, 16, 8]
    assert pooled.flatten().tolist() == [i + 1 for i in range(40)]
    assert made.encoder.sent == ["cpu", "cpu"]
    made.tables(texts)
    assert made.encoder.sent == ["cpu", "cpu"]
    assert not made.encoder.weight.requires_grad


@pytest.mark.parametrize("texts", [["a", "bb", "a"], ["", "a", ""]])
def test_the_null_rows_are_those_of_the_empty_text(texts):
    made = Encoded(kept=9)
    cond = text_cond(made.tables, [Prompt(text) for text in texts], 2.0, CPU)
    tensors = {name: lookup.rows() for name, lookup in cond.tensors.items()}
    assert tensors["pooled"].flatten().tolist() == [len(text) for text in texts]
    assert tensors["null_pooled"].flatten().tolist() == [0, 0, 0]
    assert bool((tensors["null_words"] == 0).all())
    assert made.asked == [list(dict.fromkeys([*texts, ""]))]


@pytest.mark.parametrize("grad", [False, True])
def test_guidance_goes_past_the_prompted_velocity_away_from_the_null_one(grad):
    made = Encoded(kept=9)
    cond = text_cond(made.tables, [Prompt("a"), Prompt("bb")], 3.0, CPU)
    scale = torch.tensor(1.0, requires_grad=True)
    x, t = torch.ones(2, 1, 2, 2), torch.tensor([0.25, 0.5])
    rows = []

    def forward(x, t, words, pooled):
        rows.append(len(x))
        return scale * (x * t[:, None, None, None] + pooled[:, :, None, None])

    with torch.set_grad_enabled(grad):
        velocity = guide(forward, x, t, cond)
    # null t, prompted t + length: t + 3 length.
    assert velocity[:, 0, 0, 0].tolist() == [3.25, 6.5]
    assert rows == ([2, 2] if grad else [4])
    if grad:
        velocity[:, 0, 0, 0].sum().backward()
        # Of 3 (t + length) alone.
        assert scale.grad.item() == 3 * (1.25 + 2.5)
