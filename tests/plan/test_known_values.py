"""Numbers of small tensors on the meta device are known where they follow from what was given."""

import pytest
import torch
from torch import Tensor

from tests.policy.pipeline.test_families import RECIPE
from zoo.plan.footprint import footprint
from zoo.plan.known_values import MOST, known_values
from zoo.plan.live_bytes import META, LiveBytes
from zoo.plan.work import row_of
from zoo.recipe.recipe import load_recipe


def places(device) -> Tensor:
    """As FLUX.2 writes where its tokens are."""
    rows, columns = torch.arange(2, device=device), torch.arange(3, device=device)
    return torch.cartesian_prod(rows, columns).expand(2, -1, -1)


def lengths(device) -> Tensor:
    """As Lumina 2 counts the words of its prompts."""
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]], device=device)
    return mask.bool().sum(dim=1)


def written(device) -> Tensor:
    """Through a view, and in place."""
    out = torch.zeros(2, 3, device=device)
    out[:, 1:].add_(2)
    out[0] *= torch.linspace(0, 1, 3, device=device)
    return out


def chosen(device) -> Tensor:
    """Of a size that depends on numbers."""
    times = torch.as_tensor([0.9, 0.2, 0.7]).to(device)
    return times[times > 0.5].cumsum(0)


MADE = [places, lengths, written, chosen]


@pytest.mark.parametrize("make", MADE)
def test_what_follows_from_what_was_given_can_be_read(make):
    wanted = make("cpu")
    with known_values():
        found = make(META)
        assert found.device == META
        assert found.shape == wanted.shape
        assert found.tolist() == wanted.tolist()
        assert found.flatten()[-1].item() == wanted.flatten()[-1].item()
        assert bool((found == found).all())


@pytest.mark.parametrize("make", MADE)
def test_so_it_can_where_gradients_are_kept(make):
    with known_values():
        weight = torch.nn.Parameter(torch.ones(3, device=META))
        kept = weight * 2
        assert make(META)[0].tolist() == make("cpu")[0].tolist()
        assert kept.requires_grad


def test_a_device_of_the_surroundings_is_as_good(recwarn):
    with known_values(), META:
        assert torch.tensor([3, 4]).max().item() == 4
        assert torch.full((2,), 0.5)[1] > 0.25


def unknown(kind: str) -> Tensor:
    known = torch.zeros(3, device=META)
    weight = torch.empty(3, device=META)
    match kind:
        case "random":
            return torch.rand(3, device=META)
        case "a weight":
            return weight
        case "made of one":
            return known + weight
        case "overwritten by one":
            known[1:].add_(weight[1:])
            return known
        case "large":
            return torch.zeros(MOST + 1, device=META)
    raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind", ["random", "a weight", "made of one", "overwritten by one", "large"]
)
def test_what_does_not_follow_cannot(kind):
    with known_values():
        found = unknown(kind)
        with pytest.raises(RuntimeError):
            found[0].item()
        with pytest.raises(RuntimeError, match="of which shapes alone are known"):
            found.tolist()


def test_numbers_that_cannot_be_are_not_known_and_their_shapes_are():
    with known_values():
        places = torch.zeros(4, dtype=torch.long, device=META)
        found = torch.nn.functional.embedding(places, torch.zeros(0, 3, device=META))
        assert found.shape == (4, 3)
        with pytest.raises(RuntimeError, match="of which shapes alone are known"):
            found.tolist()


def test_nothing_is_kept_of_what_is_gone_and_the_count_of_bytes_is_as_it_was():
    with known_values(), LiveBytes() as live:
        kept = torch.zeros(4, 5, dtype=torch.int64, device=META)
        assert live.now == 160
        del kept
        assert live.now == 0
        again = torch.empty(4, 5, device=META)
        with pytest.raises(RuntimeError):
            again[0, 0].item()


def test_outside_nothing_has_changed():
    with known_values():
        pass
    with pytest.raises(RuntimeError):
        torch.zeros(2, device=META).tolist()
    assert torch.tensor([1], device=META).device == META


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "pipeline", ["Flux2KleinPipeline", "Flux2Pipeline", "Lumina2Pipeline", "LuminaPipeline"]
)
def test_pipelines_that_read_numbers_have_an_estimate(pipeline, tmp_path):
    path = tmp_path / "family.yaml"
    path.write_text(
        RECIPE.format(
            pipeline=pipeline, solver="{name: dpm2}", guidance=1.0, frames="", objective="dpo",
            data="general/eval",
        )
    )  # fmt: skip
    made = load_recipe(path, tiny=True)
    found, row = footprint(made, 1), row_of(made)
    assert min(found.sampling, found.training, found.flops) > 0
    # A forward, and what its backward does: twice that but for what LoRA leaves out.
    assert 1.5 < row.gradient / row.forward < 3.1
