"""SD3's network by the names of Stability's code, as its single files are published."""

import torch

_WHOLE = {
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "context_embedder": "context_embedder",
    "proj_out": "final_layer.linear",
}
_IN_BLOCKS = {
    "x_block.attn.qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
    "x_block.attn.proj": ["attn.to_out.0"],
    "x_block.attn.ln_q": ["attn.norm_q"],
    "x_block.attn.ln_k": ["attn.norm_k"],
    "x_block.attn2.qkv": ["attn2.to_q", "attn2.to_k", "attn2.to_v"],
    "x_block.attn2.proj": ["attn2.to_out.0"],
    "x_block.attn2.ln_q": ["attn2.norm_q"],
    "x_block.attn2.ln_k": ["attn2.norm_k"],
    "x_block.adaLN_modulation.1": ["norm1.linear"],
    "x_block.mlp.fc1": ["ff.net.0.proj"],
    "x_block.mlp.fc2": ["ff.net.2"],
    "context_block.attn.qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
    "context_block.attn.proj": ["attn.to_add_out"],
    "context_block.attn.ln_q": ["attn.norm_added_q"],
    "context_block.attn.ln_k": ["attn.norm_added_k"],
    "context_block.adaLN_modulation.1": ["norm1_context.linear"],
    "context_block.mlp.fc1": ["ff_context.net.0.proj"],
    "context_block.mlp.fc2": ["ff_context.net.2"],
}


def published(network, prefix=""):
    """All of its tensors by their published names; the last scales and shifts change places."""
    state = network.state_dict()
    found = {"pos_embed": state["pos_embed.pos_embed"]}
    for kind in ("weight", "bias"):
        for ours, theirs in _WHOLE.items():
            found[f"{theirs}.{kind}"] = state[f"{ours}.{kind}"]
        found[f"final_layer.adaLN_modulation.1.{kind}"] = _swapped(state[f"norm_out.linear.{kind}"])
        last = network.config.num_layers - 1
        for i in range(last + 1):
            for theirs, ours in _IN_BLOCKS.items():
                names = [f"transformer_blocks.{i}.{name}.{kind}" for name in ours]
                if names[0] in state:
                    whole = torch.cat([state[name] for name in names])
                    swap = i == last and theirs == "context_block.adaLN_modulation.1"
                    name = f"joint_blocks.{i}.{theirs}.{kind}"
                    found[name] = _swapped(whole) if swap else whole
    return {f"{prefix}{name}": value.clone().contiguous() for name, value in found.items()}


def _swapped(tensor):
    return torch.cat([*reversed(tensor.chunk(2))])
