"""The script that makes the scenes model."""

from itertools import product

import pytest
import torch
from torch import nn

from benchmarks.make_scenes import training
from benchmarks.make_scenes.autoencoder import encode
from benchmarks.make_scenes.autoencoder import loss as autoencoder_loss
from benchmarks.make_scenes.detector import Detector, disturbed
from benchmarks.make_scenes.detector import loss as detector_loss
from benchmarks.make_scenes.parts import new_autoencoder, new_text_encoders, new_transformer
from benchmarks.make_scenes.sampled import TAGS, captions, shown, some_images
from benchmarks.make_scenes.training import Schedule, train
from benchmarks.make_scenes.transformer import Stage, all_tokens, make_transformer
from benchmarks.make_scenes.transformer import loss as transformer_loss
from benchmarks.make_scenes.words import merged, merges_of, tokenizer
from zoo.data.scenes.layout import ANY, Asked, place
from zoo.data.scenes.prompts import every
from zoo.data.scenes.shapes import render
from zoo.reward.scenes.judge import ScenesJudge
from zoo.seeds import Draws


def drawn(num, seed=0):
    return Draws(seed, "test make_scenes", 0, torch.arange(num))


def test_every_word_of_a_prompt_is_one_token_and_prompts_are_never_cut():
    words = tokenizer()
    for prompt in every():
        tokens = words(prompt.text).input_ids
        assert words.convert_ids_to_tokens(tokens[1:-1]) == [
            f"{word}</w>" for word in prompt.text.split()
        ]
        assert len(tokens) <= words.model_max_length
    assert words("").input_ids == [words.bos_token_id, words.eos_token_id]


def test_merges_of_words_that_contain_each_other_make_a_token_of_each():
    words = ["".join(letters) for n in (1, 2, 3, 4) for letters in product("ab", repeat=n)]
    merges = merges_of(words)
    for word in words:
        assert merged([*word[:-1], f"{word[-1]}</w>"], merges) == [f"{word}</w>"]


def test_each_kind_is_drawn_as_often_and_all_of_its_prompts():
    known = captions()
    rows = known.some(drawn(6000))
    assert known.tag[rows].bincount().min() > 850
    few = torch.tensor([TAGS.index(tag) not in (TAGS.index("color_attr"),) for tag in TAGS])
    seen = set(rows.tolist())
    assert all(i in seen for i in range(len(known.tag)) if few[known.tag[i]])


def test_kinds_are_as_often_as_their_weights_say():
    known = captions()
    rows = known.some(drawn(6000), {"position": 3.0, "color_attr": 0.0})
    share = known.tag[rows].bincount(minlength=len(TAGS)) / 6000
    wanted = torch.tensor([{"position": 3.0, "color_attr": 0.0}.get(tag, 1.0) / 7 for tag in TAGS])
    assert share[TAGS.index("color_attr")] == 0
    # Three standard errors of the largest share.
    torch.testing.assert_close(share, wanted, atol=0.02, rtol=0)


def test_without_wrong_captions_images_show_what_is_asked():
    rows = captions().some(drawn(300))
    same, asked = shown(rows, dict.fromkeys(TAGS, 0.0), drawn(300)), captions().asked.take(rows)
    for name in ("num", "shape", "color", "position"):
        assert torch.equal(getattr(same, name), getattr(asked, name))


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("tag", TAGS)
def test_a_wrong_caption_is_wrong_for_its_image_and_the_share_is_kept(tag):
    rows = (captions().tag == TAGS.index(tag)).nonzero().flatten().repeat(20)[:120]
    prompts, draws = [every()[i] for i in rows.tolist()], drawn(120)
    judge = ScenesJudge()
    for share, most, least in ((1.0, 0.15, 0.0), (0.5, 0.7, 0.35)):
        wrong = dict.fromkeys(TAGS, 0.0) | {tag: share}
        images = render(place(shown(rows, wrong, draws), draws))
        # A square above and left of a ring is right for both.
        assert least <= judge.score(images, prompts).value.mean() <= most


def test_an_other_number_is_of_the_same_shape_and_colours_stay_open():
    rows = (captions().tag == TAGS.index("counting")).nonzero().flatten()
    asked = captions().asked.take(rows)
    other = shown(rows, dict.fromkeys(TAGS, 1.0), drawn(len(rows)))
    assert (other.num != asked.num).all()
    assert (other.shape == asked.shape[:, :1]).all()
    assert (other.color == ANY).all()
    assert other.num.unique().tolist() == [1, 2, 3, 4]


def parts():
    model = nn.Linear(3, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape))

    def loss_of(step):
        return (model(drawn(4, seed=step).normal((3,))) - 1.0).square().mean()

    return model, loss_of


def test_a_training_that_is_cut_off_comes_to_the_same_weights(tmp_path, monkeypatch):
    schedule = Schedule(steps=12, batch=4, lr=0.1, warm=3)
    model, loss_of = parts()
    train("whole", model, loss_of, schedule, tmp_path)
    other, other_loss = parts()

    def cut(step):
        if step == 7:
            raise KeyboardInterrupt
        return other_loss(step)

    monkeypatch.setattr(training, "SAVED_EVERY", -1.0)
    with pytest.raises(KeyboardInterrupt):
        train("cut", other, cut, schedule, tmp_path)
    again, again_loss = parts()
    asked = []
    train("cut", again, lambda step: asked.append(step) or again_loss(step), schedule, tmp_path)
    assert asked == [7, 8, 9, 10, 11]
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    finished, finished_loss = parts()
    train("cut", finished, lambda step: pytest.fail("it is done"), schedule, tmp_path)
    for a, b in zip(model.parameters(), finished.parameters(), strict=True):
        assert torch.equal(a, b)
    longer = Schedule(steps=14, batch=4, lr=0.1, warm=3)
    train("cut", finished, lambda step: asked.append(step) or finished_loss(step), longer, tmp_path)
    assert asked[5:] == [12, 13]


def test_the_rate_rises_and_falls_and_averages_remember_a_share():
    schedule = Schedule(steps=1000, batch=1, lr=1.0, warm=100)
    rates = [schedule.rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(rates[99], abs=0.01)
    assert rates[99:] == sorted(rates[99:], reverse=True)
    assert rates[-1] < 0.021
    assert schedule.decay(0) == 0.1
    assert schedule.decay(999) == pytest.approx(1 - 1 / 20)


def test_latents_have_the_scale_and_shift_of_the_configuration():
    model = new_autoencoder(0)
    images = some_images(8, seed=0, purpose="test")
    assert torch.equal(images[3:], some_images(5, seed=0, purpose="test", first=3))
    model.register_to_config(shift_factor=0.25, scaling_factor=2.0)
    with torch.no_grad():
        plain = model.encode(images * 2 - 1).latent_dist.mean
    torch.testing.assert_close(encode(model, images), (plain - 0.25) * 2.0)
    assert encode(model, images).shape == (8, 4, 8, 8)
    error = autoencoder_loss(model, images, Draws(0, "test", 0, torch.zeros(1).long()))
    torch.autograd.backward(error)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_few_steps_teach_the_detector_where_objects_are():
    torch.manual_seed(0)
    detector, scenes = Detector(), place(captions().asked.take(torch.arange(0, 320, 10)), drawn(32))
    images = disturbed(render(scenes), drawn(32))
    assert images.min() >= 0
    assert images.max() <= 1
    optimizer = torch.optim.Adam(detector.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        losses.append(detector_loss(detector, images, scenes))
        torch.autograd.backward(losses[-1])
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.8 * losses[0]


def test_what_is_asked_of_some_rows_is_that_of_their_prompts():
    asked, rows = captions().asked, torch.tensor([3, 700, 90])
    again = Asked.of([every()[i] for i in rows])
    for name in ("num", "shape", "color", "position"):
        assert torch.equal(getattr(asked.take(rows), name), getattr(again, name))


def test_a_stage_goes_on_from_the_one_before_and_learns_from_its_own_captions(tmp_path):
    """Of two stages the first is done: only the second is trained, from the first's weights."""
    first = Stage("right", Schedule(steps=2, batch=2, lr=1e-3, warm=1))
    second = Stage("wrong", Schedule(steps=1, batch=2, lr=0.0, warm=1), wrong={"colors": 1.0})
    autoencoder = new_autoencoder(0).eval()
    alone, _ = make_transformer(tmp_path, autoencoder, (first,), seed=0)
    both, _ = make_transformer(tmp_path, autoencoder, (first, second), seed=0)
    fresh = new_transformer(0)
    trained = dict(alone.named_parameters())
    # A rate of 0 leaves the second where the first ended.
    for name, parameter in both.named_parameters():
        torch.testing.assert_close(parameter, trained[name])
    assert not torch.equal(fresh.proj_out.weight, both.proj_out.weight)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "transformer_right.pt", "transformer_wrong.pt",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_transformer_and_both_text_encoders_learn_from_captions():
    transformer, (first, second) = new_transformer(0), new_text_encoders(0)
    model = nn.ModuleDict({"transformer": transformer, "first": first, "second": second})
    draws, tokens = drawn(16), all_tokens()
    clean = draws.at("clean").normal((4, 8, 8))
    rows = captions().some(draws)
    rows[0] = -1
    assert tokens[-1].unique().tolist() == [0, 1]
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(6):
        losses.append(transformer_loss(model, clean, tokens[rows], draws))
        torch.autograd.backward(losses[-1])
        optimizer.step()
        still = [name for name, p in model.named_parameters() if p.grad is None]
        optimizer.zero_grad()
    # An output of zeros misses data and noise, each of variance 1.
    assert losses[0].item() == pytest.approx(2.0, abs=0.2)
    assert losses[-1] < 0.97 * losses[0]
    # What SD3 takes of a CLIP's words is before its last layer, and that of its whole after it.
    assert not [name for name in still if not name.startswith("transformer.")]
