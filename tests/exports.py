"""Networks as a run has them and as others load its exports, and what they say."""

import torch

from zoo.policy.lora_files import DIFFUSERS
from zoo.rollout import Weights
from zoo.run import checkpoint
from zoo.run import folder as run_dir
from zoo.training import state as run_state
from zoo.training.build import build, plain_engine


def inputs():
    draw = torch.Generator().manual_seed(1)
    return {
        "hidden_states": torch.randn(3, 1, 8, 8, generator=draw),
        "encoder_hidden_states": torch.randn(3, 6, 64, generator=draw),
        "pooled_projections": torch.randn(3, 64, generator=draw),
        "timestep": 1000 * torch.rand(3, generator=draw),
        "return_dict": False,
    }


@torch.no_grad()
def output(network):
    return network(**inputs())[0]


def own_output(run_folder, which, epoch):
    """What the run's own policy says with these weights."""
    run = build(run_dir.recipe_of(run_folder), plain_engine)
    folder = run_folder / "checkpoints" / f"{epoch:06}"
    run_state.load_weights(run.model, checkpoint.load(folder).tensors, folder)
    with run.model.policy.weights.using(Weights(which)):
        return output(run.model.policy.weights)


def bare(run_folder):
    """The network that the run started from."""
    policy = run_dir.recipe_of(run_folder).policy.build({"device": torch.device("cpu")})
    return policy.weights.network


def loaded(run_folder, out, form):
    """The network as another's program makes it of an export."""
    from diffusers import SD3Transformer2DModel
    from peft import PeftModel

    if (out / "config.json").exists():
        return SD3Transformer2DModel.from_pretrained(out)
    network = bare(run_folder)
    if form == "peft":
        return PeftModel.from_pretrained(network, out)
    network.load_lora_adapter(out / DIFFUSERS, prefix="transformer")
    return network
