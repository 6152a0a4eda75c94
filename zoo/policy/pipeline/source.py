"""Which pipeline a policy is of: its files, its class of diffusers, and what is known of that."""

from pathlib import Path
from typing import Any

import torch

from zoo.policy.pipeline.configured import require_configured
from zoo.policy.pipeline.contract import Family
from zoo.policy.pipeline.families import family_of
from zoo.policy.pipeline.hollow import HollowEncoder, shape_pipeline
from zoo.policy.pipeline.keywords import CallOptions
from zoo.policy.pipeline.parts import load_pipeline, pipeline_class
from zoo.policy.pretrained import Precision, Pretrained


class Source:
    """A published pipeline that can be loaded, `without` some of its parts."""

    def __init__(
        self,
        files: Pretrained,
        pipeline: str | None,
        without: tuple[str, ...] = (),
        family: Family | None = None,
    ) -> None:
        """`pipeline` is a class of diffusers; None is the one that the model names.

        Raises:
            ValueError: diffusers has no such class, or the model cannot be had.
        """
        self.files, self.without = files, without
        self.cls: Any = pipeline_class(files, pipeline)
        self.family = family or family_of(self.cls.__name__)

    def require(self, call: CallOptions) -> None:
        """Sees that there is all that the pipeline is made of, and that it can be called so.

        Raises:
            ValueError: a part is missing, or an option does not fit the class or a network.
        """
        call.keywords(self.cls, self.family)
        require_configured(self.files, self.cls, self.without, call)

    def load(self, precision: Precision, device: torch.device) -> Any:
        """The pipeline with its weights, on the CPU; where the device is meta, shapes alone.

        Raises:
            ValueError: it is missing, broken, has no such part, or cannot be had.
        """
        load = shape_pipeline if device.type == "meta" else load_pipeline
        return load(self.files, self.cls, precision, self.without)

    def encoder_bytes(self, hollow: Any, precision: Precision) -> int:
        """Those of the encoders of the pipeline of shapes alone, by their files.

        Raises:
            ValueError: they cannot be had.
        """
        return sum(
            part.num_numbers() * precision.part(name, is_network=False).itemsize
            for name, part in hollow.components.items()
            if isinstance(part, HollowEncoder)
        )

    def write_rest(self, folder: Path, network: str) -> None:
        """All parts but for the network, and the index."""
        self.files.copy_parts(folder, network=network, without=self.without)
