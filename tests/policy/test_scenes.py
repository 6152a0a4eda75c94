"""The model of the scenes task: SD3's pipeline in miniature."""

from importlib.resources import files
from pathlib import Path

import pytest
import torch

from benchmarks.make_scenes.parts import new_autoencoder, new_text_encoders, new_transformer, save
from benchmarks.make_scenes.parts import pipeline as new_pipeline
from benchmarks.make_scenes.transformer import all_tokens, embedded
from zoo.data.scenes.prompts import every, held_out
from zoo.policy.scenes import Scenes

CPU = torch.device("cpu")
SHIPPED = Path(str(files("zoo") / "assets" / "scenes"))


@pytest.fixture(scope="module")
def made():
    """The parts with random weights that half precision keeps."""
    parts = new_transformer(0), *new_text_encoders(0), new_autoencoder(0)
    generator = torch.Generator().manual_seed(0)
    for i, part in enumerate(parts):
        for parameter in part.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            if i == 0:
                parameter.data += 0.02 * drawn
            parameter.data.copy_(parameter.data.half().float())
    return parts


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    transformer, first, second, autoencoder = made
    save(new_pipeline(transformer, (first, second), autoencoder), folder)
    return folder


@pytest.fixture(scope="module")
def policy(folder):
    return Scenes(CPU, pretrained=str(folder))


def test_it_is_as_large_as_the_package_may_grow(folder):
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 8_000_000


@pytest.mark.slow
def test_what_is_trained_is_what_the_policy_runs(made, policy):
    transformer, first, second, _ = made
    rows = [7, 300, 500, 1000]
    model = torch.nn.ModuleDict({"first": first.eval(), "second": second.eval()})
    x = torch.randn(4, *policy.latent_shape, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([0.1, 0.4, 0.7, 0.9])
    with torch.no_grad():
        words, pooled = embedded(model, all_tokens()[rows])
        (own,) = transformer(x, words, pooled, t * 1000.0, return_dict=False)
        seen = policy.velocity(x, t, policy.encode([every()[i] for i in rows]))
    torch.testing.assert_close(seen, own, rtol=1e-4, atol=1e-5)
    assert own.std() > 0.05


def test_it_makes_images_of_the_task_and_reads_its_prompts_whole(policy, folder):
    x = torch.zeros(2, *policy.latent_shape)
    assert policy.latent_shape == (4, 8, 8)
    assert policy.decode(x).shape == (2, 3, 32, 32)
    limits = Scenes.text_limits({"pretrained": str(folder)})
    assert [limit.encoder for limit in limits] == ["tokenizer", "tokenizer_2"]
    texts = [prompt.text for prompt in every()]
    assert all(max(limit.count(texts)) == limit.tokens for limit in limits)


def test_guidance_leads_away_from_the_empty_caption(policy):
    prompts = held_out(num=6)
    x, t = torch.ones(6, *policy.latent_shape), torch.full((6,), 0.5)
    with torch.no_grad():
        plain, guided = (
            policy.velocity(x, t, policy.encode(prompts, guidance=scale)) for scale in (1.0, 3.0)
        )
    assert not torch.allclose(plain, guided)


@pytest.mark.slow
def test_the_shipped_model_is_right_in_about_a_third_and_never_or_always_of_no_kind(tmp_path):
    from benchmarks.make_scenes.measure import accuracies

    measured = accuracies(SHIPPED, tmp_path / "samples.png", seed=1, each=120)
    # 0.362 when it was made, and 0.703 with guidance; 720 images have an error of 0.018.
    assert 0.25 <= measured.pop("mean") <= 0.45
    assert measured.pop("mean with guidance 3") > 0.6
    for tag, accuracy in measured.items():
        assert 0 < accuracy < 0.7, tag
