"""Which components a pipeline's constructor takes, and of which classes."""

import inspect
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from zoo.policy.tiny_pipelines.table import CHOICES
from zoo.policy.tiny_pipelines.text_encoders import concrete

DENOISERS = ("transformer", "unet", "prior", "decoder")
"""How the names of networks begin that denoise."""

_NEEDED = ("text_encoder", "tokenizer")
"""What is made although a pipeline can do without."""
_PLAIN = (bool, int, float, str, dict, list, tuple)


def slots(pipeline: Any, parts: tuple[str, ...] = ()) -> dict[str, Any]:
    """The components that a pipeline needs, and the optional `parts`, with their classes."""
    hints = _hints(pipeline)
    choices = _choices(pipeline.__name__, hints)
    found = {}
    for name, parameter in list(inspect.signature(pipeline.__init__).parameters.items())[1:]:
        cls = choices.get(name) or _chosen(hints.get(name))
        spare = parameter.default is None or name in pipeline._optional_components
        needed = not spare or name == "transformer" or name.startswith(_NEEDED) or name in parts
        if needed and cls is not None and cls not in _PLAIN:
            found[name] = concrete(cls)
    return found


def _hints(pipeline: Any) -> Mapping[str, Any]:
    try:
        return get_type_hints(pipeline.__init__)
    except NameError:
        return dict(pipeline.__init__.__annotations__)


def _choices(pipeline: str, hints: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the table says of the classes that a pipeline has."""
    import diffusers
    import transformers

    classes = (_chosen(hint) for name, hint in hints.items() if name.startswith(DENOISERS))
    names = [pipeline, *(cls.__name__ for cls in classes if cls is not None)]
    return {
        slot: getattr(diffusers, name, None) or getattr(transformers, name)
        for owner in names
        for slot, name in CHOICES.get(owner, {}).items()
    }


def _chosen(hint: Any) -> Any:
    """The first class of an annotation."""
    if get_origin(hint) in (Union, types.UnionType):
        return next((_chosen(arg) for arg in get_args(hint) if arg is not type(None)), None)
    return hint if inspect.isclass(hint) else None
