"""LoRA of the digits network with weights that are not zero, as a run has it and as files."""

import pytest
import torch

from tests.exports import output
from zoo.policy import lora_files
from zoo.policy.digits import Digits
from zoo.policy.lora_files import LoraError
from zoo.policy.weights import Lora
from zoo.rollout import Weights

ROUNDING = 1e-5
"""Of float32 networks that say about 1 and sum their products in orders that CPUs choose: 1.5e-6
was seen. Another scale or layer changes what they say by more than 0.01."""

COPIES = (Weights.OLD, Weights.EMA)


def base():
    return Digits(torch.device("cpu"), lora=None).weights.network


def allocate(lora, *copies):
    weights = Digits(torch.device("cpu"), lora=lora).weights
    weights.allocate(copies, seed=0)
    return weights


def adapted(lora, scale=0.05):
    """Adapters that change the network a lot, and what the network then says."""
    weights = allocate(lora)
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


FOUR = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
LORA = Lora(rank=8, alpha=16, targets=FOUR)


def started(source, lora=LORA, *copies):
    weights = allocate(lora, *copies)
    lora_files.start_from(str(source), weights, copies)
    return weights


def by_peft(folder, **changes):
    """Two adapters, random, as PEFT itself saves them; the network with the default one."""
    from peft import LoraConfig, get_peft_model

    options = {"r": 8, "lora_alpha": 16, "target_modules": list(FOUR), **changes}
    network = get_peft_model(base(), LoraConfig(**options))
    network.add_adapter("old", LoraConfig(**options))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=draw))
    network.save_pretrained(folder)
    network.set_adapter("default")
    assert (output(network) - output(base())).abs().max() > 0.01
    return network


def refusal(source, lora=LORA):
    with pytest.raises(LoraError, match=r"\w") as caught:
        started(source, lora)
    line = str(caught.value)
    assert "\n" not in line
    return line
