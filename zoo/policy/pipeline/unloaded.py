"""What a policy of a pipeline says by its options alone: no weights are loaded for it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.data.text_limit import TextLimit
from zoo.policy.base import Makes, Policy
from zoo.policy.parts import is_here, require_files
from zoo.policy.pipeline import tiny
from zoo.policy.pipeline.configured import require_configured
from zoo.policy.pipeline.keywords import CallOptions
from zoo.policy.pipeline.limits import limits_of
from zoo.policy.pipeline.parts import files_of, keywords_of, network_of, pipeline_class

_OF_VIDEOS = {"num_frames", "video_length"}
"""Keywords of their calls."""
_DECODES_VIDEOS = "VideoProcessor"
"""What the modules of pipelines import that make videos."""


class Unloaded(Policy):
    """Of the policy `diffusers`, in whose words options are."""

    @classmethod
    def text_limits(cls, options: Mapping[str, Any]) -> Sequence[TextLimit]:
        """Of each of the pipeline's tokenizers.

        Raises:
            ValueError: the model or a tokenizer cannot be had.
        """
        return limits_of(options)

    @classmethod
    def check_start(cls, options: Mapping[str, Any]) -> None:
        """Looks for the files of a model in a folder here, and for the pipeline's class.

        Raises:
            ValueError: it lacks a part, or what the options ask for; or diffusers the class.
        """
        files = files_of(options)
        # A single file has its network.
        own = (network_of(files),) if files.file else ()
        require_files(files, without=(*options["without"], *own))
        if options["pipeline"] or is_here(files):
            pipeline = pipeline_class(files, options["pipeline"])
            if is_here(files):
                call = CallOptions(options["resolution"], call=options["call"])
                require_configured(files, pipeline, options["without"], call)

    @classmethod
    def tiny_kind(cls, options: Mapping[str, Any]) -> str:
        """The pipeline's class, and which of its checkpoints."""
        return tiny.kind_of(options)

    @classmethod
    def write_tiny(cls, folder: Path, kind: str = "FluxPipeline") -> dict[str, Any]:
        """A pipeline of that class with small random parts, for pictures of 64 px or less."""
        return tiny.write(folder, kind)

    @classmethod
    def makes(cls, options: Mapping[str, Any]) -> Makes | None:
        """By the keywords of the pipeline's class, where it is named or its model is here.

        Raises:
            ValueError: diffusers has no such class.
        """
        files = files_of(options)
        if not options["pipeline"] and not is_here(files):
            return None
        pipeline = pipeline_class(files, options["pipeline"])
        if _OF_VIDEOS & keywords_of(pipeline).keys():
            return "videos"
        # Some decode videos of a length that is theirs.
        return None if _DECODES_VIDEOS in vars(sys.modules[pipeline.__module__]) else "images"
