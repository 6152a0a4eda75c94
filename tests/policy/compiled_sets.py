"""What torch compiles of blocks with LoRA over half precision; called in a process of its own."""

import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from zoo.policy.blocks import compile_blocks
from zoo.policy.weights import Lora, WeightSets
from zoo.rollout import Weights


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.GELU()) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        for block in self.blocks:
            x = block(x)
        return (x,)


def check(_: None) -> None:
    """Graphs are counted and run as they are."""
    graphs: list[object] = []

    def backend(graph, given):
        graphs.append(graph)
        return graph.forward

    compiled = nn.Module.compile
    nn.Module.compile = lambda self, **options: compiled(self, backend=backend, **options)
    weights = WeightSets(Blocks().to(torch.bfloat16), Lora(rank=2, alpha=4), default_targets=("0",))
    weights.allocate((Weights.OLD, Weights.EMA), seed=0)
    with torch.no_grad():
        for p in weights.parameters().values():
            p.copy_(0.1 * torch.randn_like(p))
    x = torch.linspace(-1, 1, 40, dtype=torch.bfloat16).reshape(5, 8)

    def found(which: Weights) -> Tensor:
        with torch.no_grad(), weights.using(which):
            out: Tensor = weights(x)[0]
        return out

    moved = (Weights.LIVE, Weights.OLD, Weights.EMA)
    plain = {which: found(which) for which in (*moved, Weights.REFERENCE)}
    compile_blocks(weights.network)
    for which in moved:
        assert torch.equal(found(which), plain[which])
        assert len(graphs) == 1, which
    assert torch.equal(found(Weights.REFERENCE), plain[Weights.REFERENCE])
    assert len(graphs) == 2  # without adapters
    optimizer = torch.optim.AdamW(weights.parameters().values(), lr=0.1)
    for _update in range(2):
        weights(x)[0].square().sum().backward()
        optimizer.step()
        assert len(graphs) == 4  # with gradients; the first block's input needs none
    assert not torch.equal(found(Weights.LIVE), plain[Weights.LIVE])
    assert len(graphs) == 4
    assert not counters["graph_break"]
