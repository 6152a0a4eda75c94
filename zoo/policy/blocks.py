"""A network's repeated blocks, and what a run may do to them: compute them again, compile."""

from torch import nn


def checkpoint_gradients(network: nn.Module) -> None:
    """Keeps no activations inside blocks for the backward pass, which computes them again.

    Chen et al. 2016 (arXiv 1604.06174): a forward more, and much less memory.

    Raises:
        ValueError: the network does not know how.
    """
    for part in _parts(network):
        enable = getattr(part, "enable_gradient_checkpointing", None)
        if enable is None:
            raise ValueError(
                f"{type(part).__name__} has no gradient checkpointing (no method "
                "enable_gradient_checkpointing, as diffusers' models have); leave it off"
            )
        enable()


def compile_blocks(network: nn.Module) -> None:
    """Has torch compile each block when it is first run: once for all blocks of one kind.

    Every shape is compiled anew, with gradients and without, with LoRA's adapters and without,
    which takes minutes at the start of a run; over weights in float32, every set of them is too.
    Parameters and their names stay as they are.

    Raises:
        ValueError: the network has no list of blocks.
    """
    blocks = repeated_blocks(network)
    if not blocks:
        raise ValueError(
            f"{type(network).__name__} has no list of blocks (nn.ModuleList) to compile; leave it "
            "off"
        )
    import torch._dynamo.config as dynamo

    # Shapes, gradients, sets and kinds of blocks multiply; beyond its limit torch would silently
    # run what is not compiled.
    dynamo.recompile_limit = max(dynamo.recompile_limit, 64)
    dynamo.fail_on_recompile_limit_hit = True
    for block in blocks:
        block.compile(dynamic=False)


def repeated_blocks(network: nn.Module) -> list[nn.Module]:
    """Those of its lists of blocks, in order."""
    return [
        block
        for part in _parts(network)
        for child in part.children()
        if isinstance(child, nn.ModuleList)
        for block in child
    ]


def _parts(network: nn.Module) -> list[nn.Module]:
    """The network, or those of a pipeline that has several."""
    return list(network.values()) if isinstance(network, nn.ModuleDict) else [network]
