"""A small pipeline that keeps the contract, and relatives that break one clause of it each."""

import diffusers
import torch

from zoo import seeds
from zoo.policy.pipeline.contract import Family
from zoo.policy.pipeline.seam import Seam
from zoo.policy.tiny import WIDTH, sd3_transformer


class Toy(diffusers.DiffusionPipeline):
    """Text embeddings are made of a prompt's letters; guidance doubles the batch."""

    def __init__(self, transformer, scheduler):
        super().__init__()
        self.register_modules(transformer=transformer, scheduler=scheduler)

    def encode_prompt(self, prompt):
        codes = torch.tensor([[float(sum(map(ord, text)) % 97)] for text in prompt])
        return torch.sin(codes[:, :, None] * torch.arange(1.0, WIDTH + 1)).expand(-1, 4, -1)

    def prepare_latents(self, rows, latents, generator):
        if latents is not None:
            return latents
        return torch.randn(rows, 2, 8, 8, generator=generator)

    def begin(self, prompt, latents, generator, steps):
        """Latents and words, and the times of so many steps."""
        prompt = [prompt] if isinstance(prompt, str) else prompt
        x = self.prepare_latents(len(prompt), latents, generator)
        words = self.encode_prompt(prompt)
        self.scheduler.set_timesteps(steps)
        return x, words, self.scheduler.timesteps

    def told(self, t, rows):
        """The time as the network is told it."""
        return t.expand(rows)

    def stepped(self, velocity, t):
        """What is handed to the solver."""
        return velocity

    def guide(self, without, told, scale):
        return without + scale * (told - without)

    def denoise(self, x, t, words):
        return self.transformer(
            hidden_states=x,
            timestep=self.told(t, len(x)),
            encoder_hidden_states=words,
            pooled_projections=words[:, 0],
            return_dict=False,
        )[0]

    @torch.no_grad()
    def __call__(
        self, prompt, num_inference_steps=2, guidance_scale=1.0, negative_prompt=None,
        latents=None, generator=None, output_type="pt", return_dict=True,
    ):  # fmt: skip
        prompt, negative_prompt = (
            [given] if isinstance(given, str) else given for given in (prompt, negative_prompt)
        )
        words = self.encode_prompt(prompt)
        guided = guidance_scale > 1
        if guided:
            words = torch.cat([self.encode_prompt(negative_prompt or [""] * len(prompt)), words])
        x = self.prepare_latents(len(prompt), latents, generator)
        self.scheduler.set_timesteps(num_inference_steps)
        for t in self.scheduler.timesteps:
            velocity = self.denoise(torch.cat([x, x]) if guided else x, t, words)
            if guided:
                velocity = self.guide(*velocity.chunk(2), guidance_scale)
            x = self.scheduler.step(self.stepped(velocity, t), t, x, return_dict=False)[0]
        return (x,)


class IgnoresTime(Toy):
    def told(self, t, rows):
        return torch.full((rows,), 500.0)


class SquaresTime(Toy):
    def told(self, t, rows):
        return (t**2).expand(rows)


class IgnoresPrompts(Toy):
    def encode_prompt(self, prompt):
        return torch.zeros(len(prompt), 4, WIDTH)


class ScalesByTime(Toy):
    def stepped(self, velocity, t):
        return velocity * (1 + t / 1000)


class StepsAnother(Toy):
    """Other numbers than the latents go to the solver."""

    @torch.no_grad()
    def __call__(self, prompt, latents=None, generator=None, num_inference_steps=2):
        x, words, times = self.begin(prompt, latents, generator, num_inference_steps)
        for t in times:
            self.scheduler.step(self.denoise(x, t, words), t, x.cos(), return_dict=False)
        return (x,)


class KeepsFirst(Toy):
    """The first channel stays as it is prepared; the other goes to the solver."""

    KEPT = 0.25

    def prepare_latents(self, rows, latents, generator):
        x = super().prepare_latents(rows, latents, generator).clone()
        x[:, :1] = self.KEPT
        return x

    @torch.no_grad()
    def __call__(self, prompt, latents=None, generator=None, num_inference_steps=2):
        x, words, times = self.begin(prompt, latents, generator, num_inference_steps)
        for t in times:
            velocity = self.denoise(x, t, words)[:, 1:]
            moved = self.scheduler.step(velocity, t, x[:, 1:], return_dict=False)[0]
            x = torch.cat([x[:, :1], moved], 1)
        return (x,)


class SquaresGuidance(Toy):
    def guide(self, without, told, scale):
        return without + scale**2 * (told - without)


class EncodesTwice(Toy):
    """Its embeddings have rows of their own for the branch without the prompt."""

    def encode_prompt(self, prompt):
        return super().encode_prompt(prompt).repeat_interleave(2, 0)

    def denoise(self, x, t, words):
        return super().denoise(x, t, words[::2])


class OneAtATime(Toy):
    def encode_prompt(self, prompt):
        if len(prompt) > 1:
            raise ValueError("one prompt a call")
        return super().encode_prompt(prompt)


def toy(cls=Toy, **options):
    """An instance with a random network, always the same."""
    with seeds.borrowed(0, "toy"):
        network = sd3_transformer(side=8, channels=2, positions=8, dual=())
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.data.mul_(2)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **options})
    return cls(network, scheduler)


def seam_of(cls=Toy, **family):
    """A seam on it."""
    return Seam(toy(cls), Family(**family), {}, negative="", image=None)
