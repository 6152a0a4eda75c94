"""How a source of prompts is written: `PLACE?option=value&option=value`.

As of a component, the options of a place are the keyword-only parameters of the function that reads
it, with their types and ranges. `%20` and the like are decoded; YAML takes spaces as they are.
"""

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints
from urllib.parse import unquote

from annotated_types import Ge, Le

from zoo.errors import suggest
from zoo.prompt import Prompt, PromptError


def parts(source: str) -> tuple[str, dict[str, str]]:
    """The place and its options, as text.

    Raises:
        PromptError: an option has no value, or is written twice.
    """
    if "?" in source and os.path.isfile(source):  # which no odd name makes raise
        return source, {}
    place, _, written = source.partition("?")
    options: dict[str, str] = {}
    for pair in filter(None, written.split("&")):
        key, _, value = map(unquote, pair.partition("="))
        if not key or not value:
            raise PromptError(
                f"prompts '{source}': '{pair}' has no value; write {place}?option=value&..."
            )
        if key in options:
            raise PromptError(f"prompts '{source}': the option '{key}' is written twice")
        options[key] = value
    return place, options


def read(
    reader: Callable[..., list[Prompt]], source: str, options: Mapping[str, str], *given: object
) -> list[Prompt]:
    """What the reader of a place returns, with the options that the source has.

    Raises:
        PromptError: the reader has no such option, or not with such a value; or it raises one.
    """
    allowed = names(reader)
    for key in options:
        if key not in allowed:
            what = suggest(key, allowed, "allowed") if allowed else "; it has no options"
            raise PromptError(f"prompts '{source}': unknown option '{key}'{what}")
    values: dict[str, Any] = {}
    for name, parameter in _keywords(reader).items():
        hint = parameter.annotation
        if is_dataclass(hint):
            own = get_type_hints(hint, include_extras=True)
            values[name] = cast(Any, hint)(
                **{
                    key: _value(source, key, options[key], own[key])
                    for key in own
                    if key in options
                }
            )
        elif name in options:
            values[name] = _value(source, name, options[name], hint)
    return reader(*given, **values)


def names(reader: Callable[..., object]) -> list[str]:
    """The options that a reader has; of a parameter that is a dataclass, its fields."""
    found: list[str] = []
    for name, parameter in _keywords(reader).items():
        hint = parameter.annotation
        found += [field.name for field in fields(hint)] if is_dataclass(hint) else [name]
    return found


def _keywords(reader: Callable[..., object]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(reader).parameters
    return {name: each for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY}


def _value(source: str, key: str, text: str, hint: Any) -> str | int | bool:
    """Text as it is, or a whole number or true or false where the hint is one."""
    if hint is bool:
        if text not in ("true", "false"):
            raise PromptError(f"prompts '{source}': {key} is true or false, not '{text}'")
        return text == "true"
    kinds = [hint, *get_args(hint)]
    kind, *limits = next(
        (get_args(each) for each in kinds if get_origin(each) is Annotated), (str,)
    )
    if kind is not int:
        return text
    least = int(str(next(limit.ge for limit in limits if isinstance(limit, Ge))))
    most = int(str(next((limit.le for limit in limits if isinstance(limit, Le)), 2**63 - 1)))
    # Python refuses to read thousands of digits.
    is_number = text.isdecimal() and len(text) < 20
    if not is_number or not least <= int(text) <= most:
        upper = f"or more, up to {most}" if is_number and int(text) > most else "or more"
        raise PromptError(
            f"prompts '{source[:200]}': {key} is a whole number of {least} {upper}, not "
            f"'{text[:40]}'"
        )
    return int(text)
