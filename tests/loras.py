"""LoRA of the digits network with weights that are not zero, as a run has it and as files."""

import torch

from tests.exports import output
from zoo.policy.digits import Digits
from zoo.rollout import Weights

COPIES = (Weights.OLD, Weights.EMA)


def base():
    return Digits(torch.device("cpu"), lora=None).weights.network


def allocated(lora, *copies):
    weights = Digits(torch.device("cpu"), lora=lora).weights
    weights.allocate(copies, seed=0)
    return weights


def adapted(lora, scale=0.05):
    """Adapters that change the network a lot, and what the network then says."""
    weights = allocated(lora)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in weights.parameters().values():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=draw))
    said = output(weights)
    assert (said - output(base())).abs().max() > 0.01
    return values(weights), said


def values(weights, which=Weights.LIVE):
    return {name: p.detach().clone() for name, p in weights.parameters(which).items()}


def said_by(weights, which):
    with weights.using(which):
        return output(weights)
