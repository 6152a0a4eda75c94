"""How an evaluation's images were made: what its scores depend on besides prompts and rewards."""

import hashlib

import torch

from zoo.policy.weights import WeightSets
from zoo.recipe.sections import EvalOptions
from zoo.rollout import Weights
from zoo.run.evaluations import Made
from zoo.training.build import Model


def made_by(
    model: Model, which: Weights, options: EvalOptions, *, seed: int, shape: tuple[int, ...]
) -> Made:
    """As this process's model makes them now; `shape` is an image's, [*frames, 3, height, width].

    Every process must call it, where an engine keeps weights in pieces.
    """
    bare = which is Weights.REFERENCE and model.policy.weights.lora is not None
    unmoved = bare and which not in model.copies
    *frames, _, height, width = shape
    return Made(
        options.solver.dump(), options.steps, options.guidance, seed, height, width,
        frames[0] if frames else None,
        which.value,
        None if unmoved else fingerprint(model.policy.weights, which),
    )  # fmt: skip


def fingerprint(weights: WeightSets, which: Weights) -> str:
    """Of a set's names, types and values, 16 hex digits: the same on any device, by any engine.

    Of LoRA it is of the adapters; what they are put on is the recipe's `policy.pretrained`.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(weights.tensors(which).items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        values = tensor.whole().to("cpu").contiguous().reshape(-1)
        digest.update(values.view(torch.uint8).numpy().data)
    return digest.hexdigest()
