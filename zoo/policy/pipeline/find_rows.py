"""Finding out which axes of what a pipeline encodes are prompts, and whether each is alone."""

from collections.abc import Sequence

import torch

from zoo.policy.pipeline.contract import UnsupportedError
from zoo.policy.pipeline.probes import SHORT, Probes
from zoo.policy.pipeline.trees import LIST, Axes, num_rows, row_axes, rows_at, tensors


def encoded_axes(probes: Probes, guidance: float | None) -> Axes:
    """Which are rows of prompts.

    Raises:
        UnsupportedError: there are others than one for each prompt.
    """
    once = probes.encode(probes.texts, guidance).replies
    axes = row_axes(once, probes.encode(_twice(probes), guidance).replies)
    for path, axis in axes.items():
        rows, prompts = num_rows(once, {path: axis}), len(probes.texts)
        if rows != prompts:
            raise UnsupportedError(
                f"it encodes {prompts} prompts in {rows} rows, of which it is not known whose "
                "they are"
            )
    return axes


def is_independent(probes: Probes, guidance: float | None, axes: Axes) -> bool:
    """Whether a prompt's embeddings alone are those that it has beside a longer one."""
    if len(probes.texts) == 1:
        return False
    alone = probes.encode([SHORT], guidance).replies
    first = rows_at(probes.encode(probes.texts, guidance).replies, axes, torch.tensor([0]))
    shapes = [[t.shape for t in tensors(tree)] for tree in (alone, first)]
    return shapes[0] == shapes[1] and all(
        torch.allclose(a.double(), b.double(), atol=1e-4 if a.dtype == torch.float32 else 2e-2)
        for a, b in zip(tensors(alone), tensors(first), strict=True)
    ) and not any(axis == LIST for axis in axes.values())  # fmt: skip


def _twice(probes: Probes) -> Sequence[str]:
    texts = probes.texts
    return texts if probes.seam.manner.batching == "alone" else [*texts, *texts]
