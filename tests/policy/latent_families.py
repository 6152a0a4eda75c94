"""What every latent family must do, of its tiny pipeline: a family's tests inherit the classes."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.runs import RECIPES, metrics, only_run, overrides, written, zoo
from zoo.policy.pipeline.policy import Diffusers
from zoo.prompt import Prompt
from zoo.sampler.flow_sampler import FlowSampler
from zoo.sampler.ode import Euler
from zoo.seeds import Draws

CPU = torch.device("cpu")
PROMPTS = [Prompt("a red cat"), Prompt("Two dogs, a tree"), Prompt("a red cat")]


def start():
    return Draws(0, "test", 0, torch.arange(len(PROMPTS)))


def own_images(policy, steps, guidance=1.0):
    sampler = FlowSampler(solver=Euler(), steps=steps, guidance=guidance)
    cond = policy.encode(PROMPTS, guidance=guidance)
    with torch.no_grad():
        path = sampler.sample(policy, PROMPTS, cond, start(), keep_path=False)
    return policy.decode(path.clean)


def quiet(pipeline_class, options):
    pipeline = pipeline_class.from_pretrained(options["pretrained"])
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def texts_encoded_by(policy, monkeypatch):
    """Those that its pipeline encodes from now on, each by itself."""
    encoded, encode = [], policy.seam.encode

    def noted(texts, scale):
        encoded.extend(texts)
        return encode(texts, scale)

    monkeypatch.setattr(policy.seam, "encode", noted)
    return encoded


class LatentFamily:
    """`pipeline_class` is diffusers', and `own` the fixture with the options of its tiny pipeline.

    `words` and `pooled` are the shapes of a prompt's embeddings, of which CLIP gives the first
    `clip_tokens`; the pipeline's `encode_prompt` has the pooled ones at `pooled_at`. A latent is
    (the autoencoder's - `shift`) * `scale`.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls, request):
        return request.getfixturevalue(cls.own)

    @pytest.fixture(scope="class")
    @classmethod
    def policy(cls, options):
        return Diffusers(CPU, **options)

    @pytest.fixture(scope="class")
    @classmethod
    def pipeline(cls, options):
        return quiet(cls.pipeline_class, options)

    def packed(self, latents):
        """The autoencoder's latents as the pipeline steps them."""
        return latents

    def made(self, options, **changes):
        return Diffusers(CPU, **{**options, **changes})

    def embedded(self, cond):
        """The embeddings of words and of the whole of each prompt."""
        (table,) = cond.layout.tables
        reply = table.encoded.replies[0]
        rows = cond.tensors["entry"].index
        return reply[0][rows], reply[self.pooled_at][rows]

    def refusal(self, options, device=CPU, **changes):
        with pytest.raises(ValueError, match=r"\w") as raised:
            Diffusers(device, **{**options, **changes})
        line = str(raised.value)
        assert "\n" not in line
        return line

    def their_images(self, pipeline, policy, side, steps, guidance=1.0, **embedding):
        noise = start().at("start").normal(policy.latent_shape)
        return pipeline(
            [prompt.text for prompt in PROMPTS],
            num_inference_steps=steps,
            height=side,
            width=side,
            max_sequence_length=32,
            output_type="pt",
            **self.arguments(noise, guidance, **embedding),
        ).images


class TextTests(LatentFamily):
    """Prompts: what of them is read, and which embeddings are kept."""

    @pytest.mark.parametrize("encoder", ["CLIP", "T5"])
    def test_what_is_beyond_a_limit_makes_no_difference(self, options, policy, encoder):
        limits = {
            limit.encoder: limit for limit in Diffusers.text_limits({"without": (), **options})
        }
        limit = limits[{"CLIP": "tokenizer", "T5": self.t5}[encoder]]
        assert limit.option == {"CLIP": None, "T5": "max_text_tokens"}[encoder]
        # The tiny tokenizers spell: a letter is a token.
        whole = "a" * (limit.tokens - limit.count(["a"])[0] + 1)
        assert limit.count([whole, f"{whole}bc"]) == [limit.tokens, limit.tokens + 2]

        def embedded(text):
            words, pooled = self.embedded(policy.encode([Prompt(text)]))
            return pooled if encoder == "CLIP" else words[:, self.clip_tokens :]

        assert torch.equal(embedded(f"{whole}b"), embedded(f"{whole}c"))
        assert not torch.equal(embedded(whole), embedded(f"{whole[:-1]}b"))

    def test_equal_prompts_are_embedded_once(self, policy, monkeypatch):
        fresh = [Prompt("never seen before"), Prompt("never seen before")]
        encoded = texts_encoded_by(policy, monkeypatch)
        first = policy.encode(fresh)
        assert first.tensors["entry"].index.tolist() == [0, 0]
        again = policy.encode(fresh)
        assert encoded == ["never seen before"]
        assert torch.equal(self.embedded(first)[0], self.embedded(again)[0])

    def test_prompts_to_come_are_encoded_with_the_next_that_must_be(self, options, monkeypatch):
        made = self.made(options, cached_prompts=6)
        encoded = texts_encoded_by(made, monkeypatch)
        coming = ["a dog", "a red cat", "a dog", "a cow", "a hen", "a pig"]
        later = [Prompt(text) for text in coming]
        made.expect(lambda: later)
        # One that goes on elsewhere knows of none: numbers are the same, whatever is missing.
        other = self.made(options, cached_prompts=0)
        for prompts in (PROMPTS, later[:5], PROMPTS, [later[4]]):
            words, pooled = self.embedded(made.encode(prompts))
            same_words, same_pooled = self.embedded(other.encode(prompts))
            assert torch.equal(words, same_words)
            assert torch.equal(pooled, same_pooled)
        # All that can be kept.
        assert encoded == ["a red cat", "Two dogs, a tree", "a dog", "a cow", "a hen", "a pig"]
        assert len(made._texts._kept) == 6

    def test_no_more_prompts_are_encoded_than_can_be_kept(self, options, monkeypatch):
        made = self.made(options, cached_prompts=3)
        encoded = texts_encoded_by(made, monkeypatch)
        made.expect(lambda: [Prompt(f"{n} dogs") for n in range(20)])
        for prompts in (PROMPTS, [Prompt("0 dogs")], PROMPTS):
            made.encode(prompts)
        assert encoded == ["a red cat", "Two dogs, a tree", "0 dogs"]

    def test_what_comes_without_guidance_is_not_encoded_with_it(self, options):
        made = self.made(options)
        made.expect(lambda: [Prompt("a dog")], guidance=1.0)
        made.encode(PROMPTS[:1], guidance=2.0)
        assert ("a red cat", True) in made._texts._kept
        assert not any(text == "a dog" for text, _ in made._texts._kept)
        made.encode(PROMPTS[:1])
        assert {("a red cat", False), ("a dog", False)} <= set(made._texts._kept)

    def test_what_comes_with_guidance_is_encoded_without_it_as_well(self, options):
        made = self.made(options, cached_prompts=8)
        made.expect(lambda: [Prompt(f"{n} dogs") for n in range(20)], guidance=2.0)
        made._texts._kept.clear()  # What it was connected by.
        made.encode(PROMPTS[:1], guidance=2.0).layout.at(1.0)
        # Half of what can be kept, each twice.
        texts = ["a red cat", "0 dogs", "1 dogs", "2 dogs"]
        assert list(made._texts._kept) == [
            (text, guided) for guided in (True, False) for text in texts
        ]

    def test_the_cache_holds_no_more_than_asked(self, options):
        small = self.made(options, cached_prompts=1)
        once = self.embedded(small.encode(PROMPTS))[0]
        assert len(small._texts._kept) == 1
        assert torch.equal(self.embedded(small.encode(PROMPTS))[0], once)

    @pytest.mark.parametrize("text", ["", "🦊 naïve 猫", "long " * 2000, "\n\ttabs"])
    def test_any_text_is_encoded(self, policy, text):
        words, pooled = self.embedded(policy.encode([Prompt(text)]))
        assert (words.shape, pooled.shape) == ((1, *self.words), (1, *self.pooled))
        assert all(bool(each.isfinite().all()) for each in (words, pooled))


class ImageTests(LatentFamily):
    """Its pipeline's images and latents, of the same files."""

    @pytest.mark.parametrize("guidance", [1.0, 4.5])
    @pytest.mark.parametrize("steps", [pytest.param(1, marks=pytest.mark.slow), 4])
    @pytest.mark.parametrize("resolution", [pytest.param(64, marks=pytest.mark.slow), 96])
    def test_our_euler_makes_the_pipelines_images(
        self, options, pipeline, resolution, guidance, steps
    ):
        policy = self.made(options, resolution=resolution)
        ours = own_images(policy, steps, guidance)
        assert ours.shape == (3, 3, resolution, resolution)
        theirs = self.their_images(pipeline, policy, resolution, steps, guidance)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)

    def test_the_tiny_pipeline_is_small_and_the_same_every_time(self, options, tmp_path):
        files = [path for path in Path(options["pretrained"]).rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) < 3e6
        again = Diffusers.write_tiny(tmp_path / "again", self.pipeline_class.__name__)
        name = "transformer/diffusion_pytorch_model.safetensors"
        one, two = (load_file(Path(each["pretrained"]) / name) for each in (options, again))
        assert all(torch.equal(one[key], two[key]) for key in one)

    @pytest.mark.parametrize("decode_batch", [1, 2, 8])
    def test_decoding_in_portions_changes_nothing(self, options, policy, decode_batch):
        latents = Draws(0, "test", 0, torch.arange(5)).normal(policy.latent_shape)
        portions = self.made(options, decode_batch=decode_batch)
        torch.testing.assert_close(
            portions.decode(latents), policy.decode(latents), rtol=0, atol=1e-5
        )

    def test_encoded_images_are_those_of_the_autoencoder_shifted_and_scaled(self, policy, pipeline):
        images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            inner = pipeline.vae.encode(2 * images - 1).latent_dist.mode()
        wanted = self.packed((inner - self.shift) * self.scale)
        torch.testing.assert_close(policy.latents(images), wanted, rtol=0, atol=1e-5)
        with pytest.raises(ValueError, match=r"images of another size than the policy's"):
            policy.latents(images[:, :, :32])

    def test_on_the_meta_device_it_has_the_same_shapes(self, options):
        self.require_the_same_shapes(options)

    def require_the_same_shapes(self, options):
        bare, whole = Diffusers(torch.device("meta"), **options), self.made(options)
        cond, real = (policy.encode(PROMPTS, guidance=2.0) for policy in (bare, whole))
        for one, other in zip(self.embedded(cond), self.embedded(real), strict=True):
            assert one.is_meta
            assert one.shape == other.shape
        x = torch.zeros(3, *bare.latent_shape, device="meta")
        assert bare.velocity(x, torch.ones(3, device="meta"), cond).shape == x.shape
        images = bare.decode(x)
        assert images.shape == (3, 3, 64, 64)
        assert (bare.latents(images).shape, bare.latents(images).is_meta) == (x.shape, True)
        assert torch.equal(bare.grid(10), whole.grid(10))

    def test_what_cannot_be_loaded_is_said_in_a_line(self, options, tmp_path):
        def copied(name):
            folder = shutil.copytree(options["pretrained"], tmp_path / name)
            return folder, {"pretrained": str(folder)}

        unknown = self.refusal(options, pretrained="no such model")
        assert "is no folder here and cannot be had from the Hub: 'no such model' is no" in unknown
        (tmp_path / "empty").mkdir()
        empty = self.refusal(options, pretrained=str(tmp_path / "empty"))
        assert "has no usable 'model_index.json'" in empty
        folder, cut = copied("cut")
        weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        assert f"{folder / 'transformer'}" in self.refusal(options, **cut)
        for part in ("vae", "scheduler", "text_encoder_2"):
            folder, gone = copied(part)
            shutil.rmtree(folder / part)
            assert f"'{part}'" in self.refusal(options, **gone)


def short_run(algorithm, options, folder, **changes):
    """The options of `zoo train` for a run of its recipe on a tiny pipeline."""
    return overrides(
        algorithm,
        folder,
        **{
            "eval": "null",
            "policy": f"{{name: diffusers, {written(options)}, lora: {{rank: 4, alpha: 8}}}}",
            "rewards": "[{name: jpeg_compressibility}]",
            "data__groups_per_epoch": 2,
            "data__group_size": 3,
            **changes,
        },
    )


def require_trained(algorithm, options, folder):
    """As published, over a base in bfloat16: one epoch of the algorithm's recipe."""
    short = short_run(
        algorithm,
        {**options, "dtype": "bfloat16"},
        folder,
        epochs=1,
        optim__updates_per_epoch=1,
        engine__micro_batch="{sample: 3, train: 4}",
    )
    ended = zoo("train", RECIPES[algorithm], *short)
    assert ended.returncode == 0, ended.stderr
    before, after = metrics(only_run(folder))
    assert after["grad_norm"] > 0
    assert before["num_evals"] >= 0
