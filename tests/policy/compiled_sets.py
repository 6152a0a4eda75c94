"""What torch compiles of blocks with LoRA over half precision; called in a process of its own."""

import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from zoo.policy.blocks import compile_blocks
from zoo.policy.float8 import products_in, quantize
from zoo.policy.weights import Lora, WeightSets
from zoo.rollout import Weights


class Blocks(nn.Module):
    def __init__(self, side: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        blocks = (nn.Sequential(nn.Linear(side, side), nn.GELU()) for _ in range(3))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        for block in self.blocks:
            x = block(x)
        return (x,)


def counted_graphs() -> list[object]:
    """The graphs that are compiled from now on; they run as they are."""
    graphs: list[object] = []

    def backend(graph, given):
        graphs.append(graph)
        return graph.forward

    compiled = nn.Module.compile
    nn.Module.compile = lambda self, **options: compiled(self, backend=backend, **options)
    return graphs


def moved_sets(side: int, *copies: Weights) -> WeightSets:
    """Of blocks of that width in half precision, whose adapters say something."""
    network = Blocks(side).to(torch.bfloat16)
    weights = WeightSets(network, Lora(rank=2, alpha=4), default_targets=("0",))
    weights.allocate(copies, seed=0)
    with torch.no_grad():
        for p in weights.parameters().values():
            p.copy_(0.1 * torch.randn_like(p))
    return weights


def check(_: None) -> None:
    """Graphs are counted and run as they are."""
    graphs = counted_graphs()
    weights = moved_sets(8, Weights.OLD, Weights.EMA)
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


def check_float8(_: None) -> None:
    """Of all sets of weights one, and bit for bit what is not compiled."""
    graphs = counted_graphs()
    weights = moved_sets(16, Weights.OLD)
    x = torch.linspace(-1, 1, 80, dtype=torch.bfloat16).reshape(5, 16)

    def found(which: Weights) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), weights.using(which):
            plain: Tensor = weights(x)[0]
            with products_in(weights.network, "fp8"):
                out: Tensor = weights(x)[0]
        return plain, out

    quantize(weights.network)
    eager = {which: found(which) for which in (Weights.LIVE, Weights.OLD)}
    compile_blocks(weights.network)
    for which, (plain, out) in eager.items():
        now = found(which)
        assert torch.equal(now[0], plain)
        assert torch.equal(now[1], out)
        assert not torch.equal(plain, out)
        assert len(graphs) == 2, which
    assert not counters["graph_break"]
