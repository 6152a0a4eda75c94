"""A constructor's options as a schema, and JSON values as it wants them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Optional, Union

import pytest

from zoo_reward_worker.options import OptionError, fit_options, options, takes_device


class Limit:
    def __init__(self, **limits):
        vars(self).update(limits)


@dataclass(frozen=True)
class Inner:
    size: int = 3
    file: Path = Path("a")


class Full:
    def __init__(
        self,
        device: str,
        /,
        *,
        must: str,
        count: Annotated[int, Limit(ge=1), Limit(lt=9)] = 2,
        rate: float = 0.5,
        flag: bool = False,
        file: Path = Path("x/y"),
        one: Literal["a", "b"] = "a",
        maybe: Optional[float] = None,
        either: Union[int, str] = "no",
        several: Sequence[int] = (1, 2),
        listed: list[Path] = [],  # noqa: B006
        pair: tuple[float, ...] = (),
        table: Mapping[str, float] = {},
        other: dict[str, int] = {},  # noqa: B006
        inner: Inner = Inner(size=4),
    ):
        pass


class Bare:
    pass


def test_every_type_has_a_schema_and_its_default():
    found = options(Full)
    assert found == {
        "must": {"type": "string"},
        "count": {"type": "integer", "minimum": 1, "exclusiveMaximum": 9, "default": 2},
        "rate": {"type": "number", "default": 0.5},
        "flag": {"type": "boolean", "default": False},
        "file": {"type": "string", "format": "path", "default": "x/y"},
        "one": {"enum": ["a", "b"], "default": "a"},
        "maybe": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}], "default": "no"},
        "several": {"type": "array", "items": {"type": "integer"}, "default": [1, 2]},
        "listed": {
            "type": "array",
            "items": {"type": "string", "format": "path"},
            "default": [],
        },
        "pair": {"type": "array", "items": {"type": "number"}, "default": []},
        "table": {"type": "object", "additionalProperties": {"type": "number"}, "default": {}},
        "other": {"type": "object", "additionalProperties": {"type": "integer"}, "default": {}},
        "inner": {
            "type": "object",
            "title": "Inner",
            "properties": {
                "size": {"type": "integer", "default": 3},
                "file": {"type": "string", "format": "path", "default": "a"},
            },
            "default": {"size": 4, "file": "a"},
        },
    }
    assert takes_device(Full)
    assert (options(Bare), takes_device(Bare)) == ({}, False)


def test_values_become_what_the_constructor_wants():
    given = {
        "must": "m",
        "rate": 1,
        "file": "f",
        "maybe": 2,
        "either": 3,
        "listed": ["p", "q"],
        "pair": [1, 2],
        "table": {"a": 1},
        "inner": {"size": 5, "file": "b"},
    }
    found = fit_options(Full, given)
    assert found == {
        "must": "m",
        "rate": 1.0,
        "file": Path("f"),
        "maybe": 2.0,
        "either": 3,
        "listed": [Path("p"), Path("q")],
        "pair": (1.0, 2.0),
        "table": {"a": 1.0},
        "inner": Inner(5, Path("b")),
    }
    assert [type(found[name]) for name in ("rate", "maybe", "either")] == [float, float, int]


def test_an_unknown_option_is_refused():
    with pytest.raises(OptionError, match="Full has no option 'mst'; it has: must, count"):
        fit_options(Full, {"mst": 1})


def test_a_type_that_a_recipe_cannot_write_is_refused():
    class Odd:
        def __init__(self, *, thing: object = None):
            pass

    class Loose:
        def __init__(self, *, thing=1):
            pass

    class Open:
        def __init__(self, **rest: int):
            pass

    with pytest.raises(OptionError, match="the option 'thing' of Odd has a type that a recipe"):
        options(Odd)
    for cls in (Loose, Open):
        with pytest.raises(OptionError, match=f"{cls.__name__} takes '.*'; write def __init__"):
            options(cls)
