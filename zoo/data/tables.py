"""Rows of tables: values separated by commas or tabs, and parquet."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo.errors import one_line, suggest
from zoo.prompt import ImageCell, PromptError

_SEPARATORS = (";", "\t", "|", ",")
"""Those in use."""

Rows = Iterator[tuple[str, Mapping[str, Any]]]
"""Where a row is, as errors say it, and its values by column."""


def read_separated(path: Path, shown: str, column: str, separator: str) -> Rows:
    """The rows of a table with a heading; all values are text.

    Raises:
        PromptError: the heading lacks the column, or a row has too few values or too many.
    """
    # Without newline="" a carriage return inside quotes would be lost.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=separator, strict=True)
        try:
            heading = next(reader, [])
            _require(column, heading, shown, separator)
            for row in filter(None, reader):
                place = f"{shown}:{reader.line_num}"
                if len(row) != len(heading):
                    raise PromptError(
                        f"{place}: {len(row)} values for {len(heading)} columns; a value that has "
                        "the separator in it needs quotes"
                    )
                yield place, dict(zip(heading, row, strict=True))
        except csv.Error as error:
            raise PromptError(f"{shown}:{reader.line_num}: {error}") from None


def parquet(path: Path, shown: str, column: str) -> Rows:
    """The rows of a parquet file; nulls, and columns that JSON cannot hold, are left out.

    A column of encoded images is not read: its values are where they are.

    Raises:
        PromptError: the file lacks the column or is broken, or pyarrow is not installed.
    """
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError as error:
        raise PromptError(
            f"prompt file '{shown}' needs pyarrow to be read ({one_line(error)}); install it: "
            "pip install 'diffusion-rl-zoo[parquet]'"
        ) from None
    try:
        schema = parquet.read_schema(path)
        _require(column, schema.names, shown)
        wanted = [field.name for field in schema if _plain(field.type)]
        encoded = [field.name for field in schema if _encoded(field.type)]
        table = parquet.read_table(path, columns=wanted)
    except pyarrow.ArrowException as error:
        raise PromptError(f"prompt file '{shown}' is no parquet file: {one_line(error)}") from None
    for i, row in enumerate(table.to_pylist(), 1):
        cells = {name: ImageCell(path, name, i - 1) for name in encoded}
        yield f"{shown}: row {i}", _without_nulls(row) | cells


def _require(column: str, found: list[str], shown: str, separator: str = "") -> None:
    if column not in found:
        only = found[0] if separator and len(found) == 1 else ""
        other = next((each for each in _SEPARATORS if each in only), separator)
        if other != separator:
            written = "tab" if other == "\t" else other
            raise PromptError(
                f"prompt file '{shown}' has one column, '{found[0]}'; if its separator is "
                f"{written!r}, write {shown}?separator={written}"
            )
        raise PromptError(
            f"prompt file '{shown}' has no column '{column}'{suggest(column, found, 'it has')}; "
            f"name the one with the prompts: {shown}?column=NAME"
        )
    repeated = next((name for name in found if found.count(name) > 1), None)
    if repeated is not None:
        raise PromptError(
            f"prompt file '{shown}' has {found.count(repeated)} columns '{repeated}', of which "
            "one would be lost; rename the others"
        )


def _plain(kind: Any) -> bool:
    """Whether JSON can hold values of an Arrow type."""
    from pyarrow import types

    if types.is_struct(kind):
        return all(_plain(field.type) for field in kind)
    of_values = (
        types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view,
        types.is_large_list_view, types.is_dictionary, types.is_run_end_encoded,
    )  # fmt: skip
    if any(test(kind) for test in of_values):
        return _plain(kind.value_type)
    tests = (
        types.is_string, types.is_large_string, types.is_string_view, types.is_boolean,
        types.is_integer, types.is_floating, types.is_null,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def _encoded(kind: Any) -> bool:
    """Whether values of an Arrow type may be images: bytes, or what `datasets` makes of images."""
    from pyarrow import types

    if types.is_struct(kind):
        return {"bytes", "path"} == {field.name for field in kind} and _encoded(
            kind.field("bytes").type
        )
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _without_nulls(value: Any) -> Any:
    """Arrow fills in the keys that only some of a column's objects have."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
