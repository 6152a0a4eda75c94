"""Finding out which of the latents that a pipeline prepares it hands to its solver."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from zoo.policy.pipeline.contract import UnsupportedError
from zoo.policy.pipeline.decoder import decoder_input
from zoo.policy.pipeline.made_up import noise
from zoo.policy.pipeline.part import Part
from zoo.policy.pipeline.probes import HIGH, SHORT, Call, Probes
from zoo.policy.pipeline.questions import Question
from zoo.policy.pipeline.trees import leaves

_BASE = 8
"""Of the digits of a place: all are exact in half precision."""
_NOT_GIVEN = "it does not step the latents that it is given"


def find_part(probes: Probes, others: Sequence[Tensor]) -> Part:
    """The part that is stepped of what `prepare_latents` gives; `others` are further states.

    Raises:
        UnsupportedError: what is stepped is no part of it.
    """
    probes.step([SHORT], HIGH[0])
    prepared = probes.seam.run.prepared
    if not prepared or not isinstance(prepared[0], Tensor):
        raise UnsupportedError(
            "it makes its latents by itself: it has no prepare_latents to be given some"
        )
    whole = tuple(prepared[0].shape[1:])
    place = _places(probes, whole, others)
    stepped = torch.stack(torch.unravel_index(place, whole))
    box = [(int(axis.min()), int(axis.max()) + 1) for axis in stepped]
    box = _reaching(probes, whole, box, others)
    start = torch.tensor([[low] for low, _ in box])
    sizes = [high - low for low, high in box]
    strides = torch.tensor([[torch.Size(sizes[i + 1 :]).numel()] for i in range(len(sizes))])
    inside = ((stepped - start) * strides).sum(0)
    moved = torch.zeros(torch.Size(sizes).numel(), dtype=torch.bool)
    moved[inside] = True
    return Part(box, inside, moved)


def _places(
    probes: Probes, whole: tuple[int, ...], others: Sequence[Tensor]
) -> Int[Tensor, " sample"]:
    """Where each number of what is stepped is in what is prepared: by its number, in digits."""
    count, device = torch.Size(whole).numel(), probes.seam.device
    numbers, place, digit = torch.arange(count), torch.zeros((), dtype=torch.long), 1

    def stepped(values: Tensor) -> Tensor:
        x = values.float().reshape(1, *whole).to(device)
        return probes.step([SHORT], HIGH[0], [x, *others])[1][0][1].flatten().float().cpu()

    while digit <= count:
        place = place + digit * stepped(numbers // digit % _BASE).round().long()
        digit *= _BASE
    if len(set(place.tolist())) != len(place) or not bool(((place >= 0) & (place < count)).all()):
        raise UnsupportedError(_NOT_GIVEN)
    trial = noise((count,))
    if not torch.allclose(stepped(trial), trial[place], atol=2e-2, rtol=1e-2):
        raise UnsupportedError(_NOT_GIVEN)
    return place


def _reaching(
    probes: Probes, whole: Sequence[int], box: list[tuple[int, int]], others: Sequence[Tensor]
) -> list[tuple[int, int]]:
    """The box, made larger on each side beyond which something is decoded."""
    if getattr(probes.seam.real, "vae", None) is None:
        return box
    x = noise((1, *whole)).to(probes.seam.device)
    encoded = probes.encode([SHORT], None)

    def decoded(latents: Tensor) -> Tensor:
        question = Question("end", [SHORT], latents=[latents, *others], encoded=encoded)
        return decoder_input(probes.seam, question)

    first, found = decoded(x), []
    for axis, (low, high) in enumerate(box):
        sides = ((0, low), (high, whole[axis]))
        reach = [low, high]
        for i, (start, stop) in enumerate(sides):
            changed = x.clone()
            changed.narrow(axis + 1, start, stop - start).mul_(-2)
            if start < stop and not torch.equal(decoded(changed), first):
                reach[i] = (start, stop)[i]
        found.append((reach[0], reach[1]))
    return found


def find_kept(probes: Probes, x: Tensor, others: Sequence[Tensor]) -> Part | None:
    """The part that moves of latents that are all stepped, where the network is shown another's.

    None where it is shown all of them.
    """
    first, second = (probes.step([SHORT], HIGH[0], [a, *others])[0] for a in (x, 2 * x))
    prepared = probes.seam.run.prepared[1:]
    for shown, other in zip(_alike(first, x), _alike(second, x), strict=True):
        moved = (shown != other)[0].cpu()
        if not moved.any() or moved.all():
            continue
        for kept, each in enumerate(prepared, start=1):
            if not _fits(each, x):
                continue
            there = each.to(shown).expand_as(shown)[0].cpu()
            if torch.equal(there[~moved], shown[0].cpu()[~moved]):
                box = [(0, size) for size in x.shape[1:]]
                return Part(box, torch.arange(moved.numel()), moved.flatten(), kept=kept)
    return None


def _alike(calls: Sequence[Call], x: Tensor) -> list[Tensor]:
    """Of what networks were given, what has the shape of the latents."""
    return [
        leaf
        for _, given, _ in calls
        for _, leaf in leaves(given)
        if isinstance(leaf, Tensor) and leaf.shape == x.shape
    ]


def _fits(each: object, x: Tensor) -> bool:
    """Whether it can be in the place of latents."""
    return (
        isinstance(each, Tensor)
        and each.ndim == x.ndim
        and all(n in (1, m) for n, m in zip(each.shape, x.shape, strict=True))
    )
