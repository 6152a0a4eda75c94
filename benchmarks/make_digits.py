"""Makes the weights of the embedded digits task: `python -m benchmarks.make_digits [--out DIR]`.

Pre-trains the digits policy by flow matching (Lipman et al. 2022, arXiv 2210.02747) on every digit,
with 45% of the captions wrong: the model then draws sharp digits, and the one asked for in about
half of the images, which leaves reinforcement learning something to do. Trains the reward's
classifier on one half of the digits. Both are measured. It takes about a minute.
"""

import argparse
import math
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data.digits import CAPTIONS, SIZE, WORDS, Labelled, halves, prompts
from zoo.flow import noised, velocity_target
from zoo.policy.base import Policy
from zoo.policy.digits import Digits, TextEncoder, new_network, tokenize
from zoo.reward.digits import Classifier, DigitJudge
from zoo.seeds import Draws, borrowed

SEED = 0
BATCH = 128


def main() -> None:
    """Makes both files, and prints how good they are."""
    parser = argparse.ArgumentParser(description="re-make the weights of the embedded digits task")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "assets", metavar="DIR")
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    # With one thread sums are always in the same order, so the files can be made again to the bit.
    torch.set_num_threads(1)

    first, second = halves()
    classifier = train_classifier(first)
    accuracy = classifier_accuracy(classifier, second)
    print(f"classifier: {accuracy:.1%} of the held-out half")
    _save(classifier, folder / "digit_classifier.safetensors", accuracy)

    path = folder / "digits.safetensors"
    model = pretrain()
    _save(model, path)
    accuracy = prompt_accuracy(Digits(torch.device("cpu"), lora=None, checkpoint=path))
    print(f"digits policy: the judge names the prompted digit in {accuracy:.1%}")
    _save(model, path, accuracy)


def train_classifier(half: Labelled, *, num_steps: int = 600) -> Classifier:
    """A classifier trained on noisy images, since a policy's are not as clean as the data."""
    images, digits = _tensors(half)
    with borrowed(SEED, "digit classifier"):
        classifier = Classifier()
        optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=4e-3, total_steps=num_steps
        )
        for _ in range(num_steps):
            i = torch.randint(len(images), (BATCH,))
            noise = 0.25 * torch.rand(BATCH, 1, 1, 1) * torch.randn(BATCH, 1, SIZE, SIZE)
            logits = classifier(images[i] + noise)
            torch.autograd.backward(F.cross_entropy(logits, digits[i], label_smoothing=0.05))
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return classifier.eval().requires_grad_(False)


def pretrain(
    *, num_steps: int = 1200, lr: float = 2e-3, wrong_captions: float = 0.45
) -> nn.ModuleDict:
    """The transformer and its text encoder, trained together, with averaged weights (EMA)."""
    images, digits = (torch.cat(both) for both in zip(*map(_tensors, halves()), strict=True))
    captions = torch.stack(
        [tokenize([caption.format(word) for word in WORDS]) for caption in CAPTIONS]
    )
    with borrowed(SEED, "pre-training of digits"):
        model = nn.ModuleDict({"network": new_network(), "text_encoder": TextEncoder()})
        for parameter in model.get_submodule("network.proj_out").parameters():
            nn.init.zeros_(parameter)
        parameters = list(model.parameters())
        averaged = [p.detach().clone() for p in parameters]
        optimizer = torch.optim.AdamW(parameters, lr, betas=(0.9, 0.99), weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: _warm_cosine(step / num_steps)
        )
        for step in range(num_steps):
            i = torch.randint(len(images), (BATCH,))
            words = _captions(captions, digits[i], wrong_captions)
            torch.autograd.backward(_flow_matching_loss(model, images[i], words))
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            decay = min(0.995, (step + 1) / (step + 10))
            torch._foreach_lerp_(averaged, [p.detach() for p in parameters], 1.0 - decay)
    with torch.no_grad():
        for parameter, average in zip(parameters, averaged, strict=True):
            parameter.copy_(average)
    return model


def _warm_cosine(done: float) -> float:
    return min(1.0, 12.0 * done) * (0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * done)))


def _captions(
    captions: Int[Tensor, "templates 10 tokens"], digits: Int[Tensor, " batch"], wrong: float
) -> Int[Tensor, "batch tokens"]:
    """Captions of the digits, but of any digit with probability `wrong`; then 10% are left out."""
    said = torch.where(
        torch.rand(len(digits)) < wrong, torch.randint(len(WORDS), digits.shape), digits
    )
    words = captions[torch.randint(len(captions), digits.shape), said]
    return words * (torch.rand(len(digits), 1) >= 0.1)


def _flow_matching_loss(
    model: nn.ModuleDict, clean: Float[Tensor, "batch 1 8 8"], words: Int[Tensor, "batch tokens"]
) -> Float[Tensor, ""]:
    """At logit-normal times, as in Stable Diffusion 3."""
    t, noise = torch.randn(len(clean)).sigmoid(), torch.randn_like(clean)
    embedded, pooled = model["text_encoder"](words)
    (velocity,) = model["network"](
        noised(clean, noise, t), embedded, pooled, t * 1000.0, return_dict=False
    )
    return F.mse_loss(velocity, velocity_target(clean, noise))


@torch.no_grad()
def classifier_accuracy(classifier: Classifier, half: Labelled) -> float:
    """The share of a half's digits that a classifier names."""
    images, digits = _tensors(half)
    return float((classifier(images).argmax(dim=1) == digits).float().mean())


@torch.no_grad()
def prompt_accuracy(policy: Policy, *, images_per_prompt: int = 100, num_steps: int = 10) -> float:
    """The share of images of the evaluation prompts in which the judge names the prompted digit.

    The images are made by Euler steps, from fixed noise.
    """
    asked = prompts("eval") * images_per_prompt
    x = Draws(SEED, "prompt accuracy of digits", 0, torch.arange(len(asked))).normal(
        policy.latent_shape
    )
    cond, grid = policy.encode(asked), policy.grid(num_steps)
    for t, s in zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True):
        x = x + (s - t) * policy.velocity(x, torch.full((len(x),), t), cond)
    scores = DigitJudge(torch.device("cpu")).score(policy.decode(x), asked)
    return float(scores.value.mean())


def _tensors(
    half: Labelled,
) -> tuple[Float[Tensor, "num_images 1 8 8"], Int[Tensor, " num_images"]]:
    return torch.from_numpy(half.images).unsqueeze(1) * 2.0 - 1.0, torch.from_numpy(half.digits)


def _save(module: nn.Module, path: Path, accuracy: float | None = None) -> None:
    measured = {} if accuracy is None else {"accuracy": f"{accuracy:.4f}"}
    save_file(
        module.state_dict(),
        path,
        metadata={"made_by": "python -m benchmarks.make_digits", **measured},
    )


if __name__ == "__main__":
    main()
