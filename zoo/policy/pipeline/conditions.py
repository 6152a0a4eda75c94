"""Prompts as the conditions of velocities: what a pipeline encodes of them, once, and its rows."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from zoo.policy.pipeline.contract import Contract, UnsupportedError
from zoo.policy.pipeline.embeddings import Embeddings, Entry
from zoo.policy.pipeline.inputs import InputImages
from zoo.policy.pipeline.told import Told
from zoo.prompt import Prompt
from zoo.rollout import Cond, Lookup

_HOST = torch.device("cpu")


class Conditions:
    """Their layout is a `Told`, and their rows are places in its tables."""

    def __init__(
        self, texts: Embeddings, contract: Contract, inputs: InputImages, device: torch.device
    ) -> None:
        """Tables are on the device, or on meta their shapes."""
        self._texts, self._contract, self._inputs = texts, contract, inputs
        self._device = device

    def __call__(self, prompts: Sequence[Prompt], guidance: float) -> Cond:
        """Tables of what the pipeline's own encoders give, for all texts together.

        Raises:
            UnsupportedError: there is no such guidance.
            PromptError: a prompt has more or fewer images than the model takes.
        """
        offset = self._contract.offset
        if guidance != 1.0 and offset is None:
            raise UnsupportedError(
                f"{self._contract.pipeline} has no classifier-free guidance and it is "
                f"{guidance:g}; write guidance: 1"
            )
        scale = None if guidance == 1.0 else guidance + (offset or 0.0)
        entries = [Entry(prompt.text, self._inputs.of(prompt)) for prompt in prompts]
        distinct = {entry: i for i, entry in enumerate(dict.fromkeys(entries))}
        images = self._inputs.open(prompts)
        told = self.tell(list(distinct), scale, images)
        if scale is not None:
            plain = cache(lambda: self.tell(list(distinct), None, images))
            told = replace(told, unguided=plain)
        row = torch.tensor([distinct[entry] for entry in entries], device=_HOST)
        lookup = Lookup(torch.arange(len(distinct), device=_HOST), row)
        return Cond({"entry": lookup}, guidance, told)

    def tell(
        self, entries: Sequence[Entry], scale: float | None, images: Mapping[Hashable, Any]
    ) -> Told:
        """Distinct entries, whose input images are by their keys, at the family's guidance."""
        tables = self._texts(entries, scale, images)
        return Told(tuple(table.on(self._device) for table in tables), scale)
