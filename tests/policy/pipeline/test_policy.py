"""The policy `diffusers`, on tiny pipelines of several families."""

import re
import shutil
from dataclasses import replace

import diffusers
import pytest
import torch

from tests.pictures import encoded, flat
from tests.policy.pipeline.kinds import first_fast
from zoo.cli.models import prompts_for
from zoo.policy.lora import Lora
from zoo.policy.pipeline.contract import Family, UnsupportedError
from zoo.policy.pipeline.policy import Diffusers
from zoo.policy.pipeline.source import Source
from zoo.policy.pipeline.trial import try_pipeline
from zoo.prompt import ImageBytes, Prompt, PromptError
from zoo.rollout import Weights, take
from zoo.seeds import Draws

CPU, META = torch.device("cpu"), torch.device("meta")
PROMPTS = [Prompt("a red cat"), Prompt("two dogs on a long mat of straw"), Prompt("a red cat")]
SMALL = Lora(rank=4, alpha=8)


def made(options, device=CPU, **changes):
    return Diffusers(device, **{**options, "lora": SMALL, **changes})


def noise(policy, rows=3):
    t = torch.linspace(0.95, 0.1, rows)
    return Draws(0, "test", 0, torch.arange(rows)).normal(policy.latent_shape), t


@first_fast(
    "AuraFlow",
    "CogVideoX",
    "CogView4",
    "DreamLite",
    "ErnieImage",
    "HunyuanVideo",
    "LTX2",
    "QwenImage",
    "FluxKontext",
)
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Of diffusers, with NumPy 2.
def test_in_bfloat16_all_but_the_networks_is_float32(tiny, kind):
    """Pipelines round latents to it between steps, and times; a policy's are float32."""
    policy = made(tiny(kind), dtype="bfloat16")
    # Batches of other sizes sum in another order.
    assert max(policy.verified.values()) < 0.02
    x, t = noise(policy, rows=2)
    prompts = prompts_for(policy)
    v = policy.velocity(x, t, policy.encode(prompts))
    assert (v.dtype, policy.decode(x).dtype) == (torch.float32, torch.float32)
    assert policy.weights.network.dtype == torch.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "trained", "other"),
    [
        ("Ideogram4Pipeline", "transformer", "unconditional_transformer"),
        ("AnimateDiffSDXLPipeline", "unet", "motion_adapter"),
    ],
)
def test_a_network_that_no_prompt_reaches_is_not_trained(tiny, kind, trained, other):
    policy = made(tiny(kind), dtype="float32")
    assert other in policy.seam.networks
    assert policy.findings()["trained"] == [trained]
    assert made(tiny(kind), dtype="float32", trains=(other,)).findings()["trained"] == [other]


@first_fast("Wan", "ChronoEdit", "Kandinsky5T2I", "Krea2", "StableDiffusion3", "Wan@2.2-A14B")
@pytest.mark.parametrize("lora", [SMALL, None])
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # As in its own loop.
def test_a_network_has_the_types_that_diffusers_loads(tiny, kind, lora):
    """It keeps times, norms and the frequencies of positions in float32, whatever the rest is."""
    options = tiny(kind)
    cls = getattr(diffusers, kind.partition("@")[0])
    loaded = cls.from_pretrained(options["pretrained"], dtype=torch.bfloat16)
    for device in (CPU, META):
        policy = made(options, device, dtype="bfloat16", lora=lora)
        for name, network in policy.seam.networks.items():
            theirs = numbers(getattr(loaded, name))
            ours = numbers(network)
            wide = {key for key, value in theirs.items() if value.dtype == torch.float32}
            assert ours.keys() == theirs.keys()
            assert wide or kind == "StableDiffusion3Pipeline"
            if lora is not None:
                types = {key: value.dtype for key, value in ours.items()}
                assert types == {key: value.dtype for key, value in theirs.items()}
            if device == CPU:
                # Trained whole, it holds what the file has, and reads it so.
                assert all(torch.equal(ours[k].to(v.dtype), v) for k, v in theirs.items())
                read = {key: attribute(network, key).dtype for key in theirs}
                assert read == {key: value.dtype for key, value in theirs.items()}


@pytest.mark.parametrize(
    ("kind", "wide"),
    [
        ("WanPipeline", {"vae"}),
        pytest.param("WanImageToVideoPipeline", {"vae", "image_encoder"}, marks=pytest.mark.slow),
        pytest.param("SanaVideoPipeline", {"vae"}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Of diffusers, with NumPy 2.
def test_parts_that_are_published_in_float32_are_so(tiny, kind, wide):
    """Their pictures are those of float32, and memory counts it."""
    for device in (CPU, META):
        policy = made(tiny(kind), device, dtype="bfloat16")
        parts = policy.seam.real.components.items()
        types = {name: part.dtype for name, part in parts if hasattr(part, "dtype")}
        assert {name for name, dtype in types.items() if dtype == torch.float32} == wide & {*types}
        assert torch.bfloat16 in types.values()
    other = made(tiny(kind), dtype="bfloat16", family=Family(inputs=policy.num_inputs))
    assert other.seam.real.vae.dtype == torch.bfloat16


def numbers(network):
    """Parameters and buffers, also those that are in no file."""
    everything = (*network.named_parameters(), *network.named_buffers())
    return {name: value for name, value in everything if value.is_floating_point()}


def attribute(network, name):
    """As its module reads it."""
    path, _, own = name.rpartition(".")
    return getattr(network.get_submodule(path), own)


@first_fast(
    "StableDiffusion3", "FluxKontext", "QwenImage", "Sana", "StableDiffusionXL", "Wan@2.2-A14B"
)
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Of diffusers, with NumPy 2.
def test_a_network_trained_whole_in_bfloat16_has_weights_in_float32(tiny, kind):
    policy = made(tiny(kind), dtype="bfloat16", lora=None, allow_unguided=True)
    # Batches of other sizes sum in another order.
    assert max(policy.verified.values()) < 0.02
    policy.weights.allocate((Weights.OLD,), seed=0, reference=False)
    x, t = noise(policy, rows=2)
    v = policy.velocity(x, t, policy.encode(prompts_for(policy)[:2]))
    v.square().mean().backward()
    live = policy.weights.parameters().values()
    assert {v.dtype, *(p.dtype for p in live)} == {torch.float32}
    assert {p.grad.dtype for p in live if p.grad is not None} == {torch.float32}
    rest = [part for part in policy.seam.real.components.values() if hasattr(part, "parameters")]
    others = {p.dtype for part in rest for p in part.parameters()} - {torch.float32}
    assert others == {torch.bfloat16}


@pytest.mark.slow
def test_guidance_can_be_taken_from_a_condition(tiny):
    policy = made(tiny("WanPipeline"))
    x, t = noise(policy)
    guided = policy.encode(PROMPTS, guidance=4.0)
    with torch.no_grad():
        plain = policy.velocity(x, t, policy.encode(PROMPTS))
        taken = policy.velocity(x, t, replace(guided, guidance=1.0))
        assert torch.equal(taken, plain)
        assert float((policy.velocity(x, t, guided) - plain).abs().max()) > 1e-3


@first_fast("StableDiffusion", "Wan", "ZImage")
def test_what_is_promised_of_a_pipeline_holds(tiny, kind):
    trial = try_pipeline(made(tiny(kind)), tuple(PROMPTS[:2]))
    assert trial.holds, trial


@pytest.mark.slow
def test_shapes_alone_are_enough_for_a_plan(tiny):
    real, planned = (made(tiny("WanPipeline"), device) for device in (CPU, META))
    assert planned.latent_shape == real.latent_shape
    assert planned.contract.describe() == real.contract.describe()
    x = torch.zeros(3, *planned.latent_shape, device=META)
    t = torch.zeros(3, device=META)
    velocity = planned.velocity(x, t, planned.encode(PROMPTS, guidance=4.0))
    assert velocity.is_meta
    assert velocity.shape == x.shape
    images = planned.decode(x)
    assert images.is_meta
    assert images.shape == (3, 5, 3, 64, 64)
    assert torch.equal(planned.grid(5), real.grid(5))


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "FluxKontextPipeline",
        "CogVideoXImageToVideoPipeline",
        "QwenImageEditPlusPipeline",
        "WanImageToVideoPipeline",
        "WanImageToVideoPipeline@2.2-5B",
    ],
)
def test_shapes_alone_are_enough_where_pictures_are_read(tiny, kind):
    planned = made(tiny(kind), META, dtype="bfloat16")
    prompts = prompts_for(planned)
    x = torch.zeros(len(prompts), *planned.latent_shape, device=META)
    t = torch.zeros(len(prompts), device=META)
    velocity = planned.velocity(x, t, planned.encode(prompts))
    assert velocity.is_meta
    assert velocity.shape == x.shape
    assert planned.decode(x).is_meta


@pytest.mark.slow
def test_a_video_has_frames_both_ways(tiny):
    policy = made(tiny("WanPipeline"))
    x, _ = noise(policy, 2)
    videos = policy.decode(x)
    assert videos.shape == (2, 5, 3, 64, 64)
    assert policy.latents(videos).shape == x.shape


@pytest.mark.slow
def test_half_precision_is_enough(tiny):
    """SD3's own end decodes latents of its own type; a policy's are float32."""
    policy = made(tiny("StableDiffusion3Pipeline"), dtype="bfloat16")
    assert max(policy.verified.values()) < 0.02
    x, _ = noise(policy, 2)
    images = policy.decode(x)
    assert images.dtype == torch.float32
    assert policy.latents(images).shape == x.shape


@pytest.mark.slow
def test_a_video_goes_through_the_autoencoder_by_itself(tiny):
    """Its five frames are more than half of eight: what is decoded is the same, in less memory."""
    options = tiny("WanPipeline")
    policy, wide = made(options, decode_batch=8), made(options, decode_batch=64)
    x, _ = noise(policy)
    rows, decode = [], policy.seam.vae.decode

    def counted(z, *args, **kwargs):
        rows.append(len(z))
        return decode(z, *args, **kwargs)

    policy.seam.vae.decode = counted
    torch.testing.assert_close(policy.decode(x), wide.decode(x), rtol=0, atol=1e-5)
    assert rows == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Of diffusers, with NumPy 2.
def test_schedulers_that_scale_what_the_network_is_shown_are_the_same_process(tiny, tmp_path):
    """Published SDXL steps x0 + sigma eps, of which the network is shown the normed one."""
    options = tiny("StableDiffusionXLPipeline")
    folder = tmp_path / "euler"
    shutil.copytree(options["pretrained"], folder)
    pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(folder)
    euler = diffusers.EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    pipe.register_modules(scheduler=euler)
    pipe.save_pretrained(folder)
    policy, ddim = made({**options, "pretrained": str(folder)}), made(options)
    x, t = noise(policy)
    with torch.no_grad():
        velocity = [each.velocity(x, t, each.encode(PROMPTS)) for each in (policy, ddim)]
    assert torch.equal(*velocity)


@pytest.mark.slow
def test_models_of_the_noise_need_guidance(tiny):
    options = tiny("StableDiffusionPipeline")
    assert made(options).needs_guidance
    assert not made(options, allow_unguided=True).needs_guidance
    assert not made(tiny("WanPipeline")).needs_guidance


class TestExperts:
    """Wan 2.2: one network above t = 0.875, another below."""

    KIND = "WanPipeline@2.2-A14B"

    @pytest.mark.slow
    def test_the_border_is_found_and_rows_go_to_their_own(self, tiny):
        policy = made(tiny(self.KIND))
        assert policy.contract.boundary == pytest.approx(0.875, abs=1e-6)
        x, _ = noise(policy)
        t = torch.tensor([0.9, 0.3, 0.95])
        cond = policy.encode(PROMPTS)
        with torch.no_grad():
            both = policy.velocity(x, t, cond)
            for i in range(3):
                alone = policy.velocity(x[i : i + 1], t[i : i + 1], take(cond, torch.tensor([i])))
                torch.testing.assert_close(both[i : i + 1], alone, rtol=0, atol=1e-4)

    @pytest.mark.slow
    def test_one_may_be_trained_and_rows_of_the_other_have_gradients_of_zero(self, tiny):
        policy = made(tiny(self.KIND), trains=("transformer",))
        policy.weights.allocate((Weights.OLD,), seed=0)
        x, _ = noise(policy, 2)
        cond = policy.encode(PROMPTS[:2])
        live = policy.weights.parameters()
        assert len(live) == 40
        policy.velocity(x, torch.tensor([0.3, 0.2]), cond).square().mean().backward()
        assert all(p.grad is None or not p.grad.any() for p in live.values())
        policy.velocity(x, torch.tensor([0.9, 0.2]), cond).square().mean().backward()
        assert any(p.grad is not None and p.grad.any() for p in live.values())

    def test_a_network_that_is_not_there_is_refused(self, tiny, monkeypatch):
        made(tiny(self.KIND))
        load, loaded = Source.load, []
        monkeypatch.setattr(Source, "load", lambda *args: loaded.append(1) or load(*args))
        with pytest.raises(ValueError, match=r"'transformer_3'.*transformer, transformer_2"):
            made(tiny(self.KIND), trains=("transformer_3",))
        # It is no word on what is known of the pipeline, which is not asked for anew.
        assert len(loaded) == 1


class TestInputImages:
    """FLUX.1-Kontext: a picture beside the prompt."""

    KIND = "FluxKontextPipeline"

    @staticmethod
    def prompt(text, colour):
        return Prompt(
            text, inputs=(ImageBytes(colour, encoded(flat(colour))),), place="edits.jsonl:3"
        )

    @pytest.mark.slow
    def test_rows_have_their_own_pictures(self, tiny):
        policy = made(tiny(self.KIND))
        prompts = [self.prompt("a cat", "red"), self.prompt("a cat", "blue")]
        x, _ = noise(policy, 2)
        x[1] = x[0]
        t, cond = torch.tensor([0.6, 0.6]), policy.encode(prompts)
        with torch.no_grad():
            both = policy.velocity(x, t, cond)
            second = policy.velocity(x[1:], t[1:], policy.encode(prompts[1:]))
        assert float((both[0] - both[1]).abs().max()) > 1e-3
        torch.testing.assert_close(both[1:], second, rtol=0, atol=1e-4)

    @pytest.mark.slow
    def test_a_prompt_without_a_picture_is_refused_with_its_place(self, tiny):
        policy = made(tiny(self.KIND))
        with pytest.raises(PromptError, match=r"edits.jsonl:4.*has 0 input images.*takes 1"):
            policy.encode([Prompt("a cat", place="edits.jsonl:4")])


class TestRefused:
    @pytest.mark.slow
    def test_guidance_that_the_pipeline_has_not(self, tiny):
        policy = made(tiny("Flux2Pipeline"))
        with pytest.raises(UnsupportedError, match=r"no classifier-free guidance.*guidance: 1"):
            policy.encode(PROMPTS, guidance=4.0)

    def test_a_class_that_diffusers_has_not(self, tiny):
        with pytest.raises(
            ValueError, match="no pipeline 'WanPipelin'; did you mean 'WanPipeline'"
        ):
            made(tiny("WanPipeline"), pipeline="WanPipelin")

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"resolution": 63}, "divisible"),
            ({"family": Family(states=("latents", "sound"))}, "before its solver had stepped all"),
            ({"call": {"gidance": 3}}, "takes no 'gidance'"),
        ],
    )
    def test_what_a_pipeline_cannot_do_in_one_line(self, tiny, changes, says):
        with pytest.raises(ValueError, match=says) as refused:
            made(tiny("ZImagePipeline"), **changes)
        assert "\n" not in str(refused.value)

    def test_images_of_another_size(self, tiny):
        policy = made(tiny("ZImagePipeline"))
        with pytest.raises(ValueError, match=r"images of another size.*policy.resolution"):
            policy.latents(torch.zeros(1, 3, 32, 32))


def test_what_was_found_is_told(tiny):
    found = made(tiny("ZImagePipeline")).findings()
    assert found["pipeline"] == "ZImagePipeline"
    assert found["predicts"] == "velocity"
    assert re.search(r"scale -1, 0 is none", found["guidance"])
    assert set(found["differs from its own loop"]) == {"guidance 1", "guidance 4"}
