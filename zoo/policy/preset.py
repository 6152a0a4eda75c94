"""A preset: the policy `diffusers` for one pipeline, with the options that its models need."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from zoo.data.text_limit import TextLimit
from zoo.policy.base import Makes
from zoo.policy.parts import is_here
from zoo.policy.pipeline.loaded import PipelinePolicy
from zoo.policy.pipeline.parts import files_of
from zoo.policy.pretrained import Pretrained


class Preset(PipelinePolicy):
    """What is asked of a recipe's options before a model is loaded, in the words of `diffusers`."""

    sizes: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @abstractmethod
    def as_diffusers(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a recipe as those of `diffusers`."""

    @classmethod
    def require(cls, files: Pretrained, options: Mapping[str, Any]) -> None:
        """Looks whether the options fit the files of a model here.

        Raises:
            ValueError: they do not.
        """

    @classmethod
    def check_start(cls, options: Mapping[str, Any]) -> None:
        """Looks for the files of a model in a folder here.

        Raises:
            ValueError: it is of another family, or lacks a part.
        """
        whole = cls.as_diffusers(options)
        files = files_of(whole)
        if is_here(files):
            cls.require(files, options)
        super().check_start(whole)

    @classmethod
    def text_limits(cls, options: Mapping[str, Any]) -> Sequence[TextLimit]:
        """Of each of the pipeline's tokenizers.

        Raises:
            ValueError: the model or a tokenizer cannot be had.
        """
        return super().text_limits(cls.as_diffusers(options))

    @classmethod
    def tiny_kind(cls, options: Mapping[str, Any]) -> str:
        """There is one."""
        return ""

    @classmethod
    def makes(cls, options: Mapping[str, Any]) -> Makes | None:
        """What its pipeline makes."""
        return super().makes(cls.as_diffusers(options))
