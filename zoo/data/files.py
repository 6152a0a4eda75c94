"""A file of prompts: text with one a line, or a table whose other columns become metadata.

* `.txt`: a prompt a line; blank lines count for nothing.
* `.jsonl`: an object a line, `{"prompt": "the digit seven", "digit": 7}`. Lines of GenEval's
  `evaluation_metadata.jsonl` and of Flow-GRPO's `train_metadata.jsonl` are such objects.
* `.json`: a list of such objects, or of texts.
* `.csv`, `.tsv`: with a heading; values are text. `?separator=;` is for other separators.
* `.parquet`: needs pyarrow; a null counts as not there, and columns that JSON cannot hold (dates,
  say) are left out.

A prompt may come with images, to edit or a preference pair, say: see `image_columns`.

The prompt is in the column `prompt` or in the one that `?column=` names. Rows without one are
refused, or with `?skip_empty=true` left out. Repeated prompts stay: a data set may repeat one to
have it seen more often.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

from zoo.data import image_columns, tables
from zoo.errors import join_lines
from zoo.prompt import Prompt, PromptError

_HALF = re.compile("[\ud800-\udfff]")

SUFFIXES = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet")
"""The kinds of files, by the end of their names."""


@dataclass(frozen=True)
class Reading:
    """How a file is read: columns, what separates values, rows without a prompt.

    `column` has the prompts, `input` the images to edit or to animate: several with commas.
    """

    column: str | None = None
    input: str | None = None
    separator: str | None = None
    skip_empty: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns of input images that are named."""
        return tuple(self.input.split(",")) if self.input is not None else ()


AS_USUAL = Reading()

Fetch = Callable[[list[str]], None]
"""Brings files, by their paths relative to the file of prompts, to where these lead."""


def load(
    path: Path, shown: str, fetch: Fetch | None = None, /, *, reading: Reading = AS_USUAL
) -> list[Prompt]:
    """All prompts of a file, in its order; `shown` is what errors call it.

    Of a file from elsewhere `fetch` brings the images in the columns that are named; in others a
    path is metadata there.

    Raises:
        PromptError: in one line, what is wrong with which line of it.
    """
    try:
        prompts = _prompts(path, shown, fetch, reading)
    except FileNotFoundError:
        raise PromptError(
            f"prompt file '{shown}' does not exist (looked for {path.absolute()})"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise PromptError(f"prompt file '{shown}' cannot be read as UTF-8 text: {why}") from None
    if not prompts:
        raise PromptError(f"prompt file '{shown}' has no prompts; write one a line")
    return prompts


def _prompts(path: Path, shown: str, fetch: Fetch | None, reading: Reading) -> list[Prompt]:
    kind = path.suffix.lower()
    if kind == ".txt":
        named = reading.column or reading.input
        if named is not None:
            raise PromptError(f"prompt file '{shown}' is plain text: it has no column '{named}'")
        return [Prompt(line, place=f"{shown}:{i}") for i, line in _lines(path)]
    name = reading.column or "prompt"
    separator = _separator(shown, kind, reading.separator)
    readers = {
        ".jsonl": lambda: _objects(path, shown, name),
        ".json": lambda: _read_list(path, shown, name),
        ".csv": lambda: tables.read_separated(path, shown, name, separator),
        ".tsv": lambda: tables.read_separated(path, shown, name, separator),
        ".parquet": lambda: tables.parquet(path, shown, name),
    }
    rows = [row for row in readers[kind]() if not (reading.skip_empty and _is_empty(*row, name))]
    if fetch is not None and reading.inputs:
        paths = [path for _, row in rows for path in image_columns.paths_in(row, reading.inputs)]
        fetch(list(dict.fromkeys(paths)))
    return [
        _prompt(place, row, name, path.parent, reading, has_files=fetch is None)
        for place, row in rows
    ]


def _separator(shown: str, kind: str, given: str | None) -> str:
    """Of a table of text; a tab is written as %09 or `tab`."""
    if given is not None and kind not in (".csv", ".tsv"):
        raise PromptError(f"prompt file '{shown}' is no .csv or .tsv: nothing separates its values")
    separator = {None: "\t" if kind == ".tsv" else ",", "tab": "\t"}.get(given, given)
    if separator is None or len(separator) != 1 or separator in '"\r\n':
        raise PromptError(
            f"prompt file '{shown}': separator is one character or tab, not {given!r}; write "
            f"{shown}?separator=;"
        )
    return separator


def _is_empty(place: str, row: Mapping[str, Any], column: str) -> bool:
    text = row.get(column)
    return text is None or (isinstance(text, str) and not text.strip())


def _objects(path: Path, shown: str, column: str) -> tables.Rows:
    for i, line in _lines(path):
        place = f"{shown}:{i}"
        entry = _json(line, place)
        if not _has_text(entry, column):
            raise PromptError(
                f'{place}: each line is an object with a text "{column}"; this is {line[:60]!r}'
                f"{_instead(shown, entry)}"
            )
        yield place, entry


def _read_list(path: Path, shown: str, column: str) -> tables.Rows:
    whole = _json(path.read_text(encoding="utf-8-sig"), shown)
    if not isinstance(whole, list):
        raise PromptError(
            f"{shown}: a .json file of prompts is a list; one with an object a line is .jsonl"
        )
    for i, each in enumerate(whole, 1):
        entry = {column: each} if isinstance(each, str) else each
        if not _has_text(entry, column):
            raise PromptError(
                f'{shown}: each entry is a text or an object with a text "{column}"; '
                f"entry {i} is {json.dumps(each)[:60]}{_instead(shown, entry)}"
            )
        yield f"{shown}: entry {i}", entry


def _lines(path: Path) -> list[tuple[int, str]]:
    # Not splitlines(): JSON strings may hold U+2028 and others that it takes for ends of lines.
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    return [(i, line.strip()) for i, line in enumerate(lines, 1) if line.strip()]


def _json(text: str, place: str) -> Any:
    def no_number(name: str) -> Never:
        raise PromptError(f"{place}: {name} is no JSON value; write a number or null")

    try:
        return json.loads(text, parse_constant=no_number)
    except json.JSONDecodeError as error:
        line = f" (line {error.lineno})" if error.lineno > 1 else ""
        raise PromptError(f"{place}: not a JSON object: {error.msg}{line}") from None
    except PromptError:
        raise
    # A number of thousands of digits, or thousands of lists in each other.
    except (ValueError, RecursionError) as error:
        raise PromptError(f"{place}: not a JSON object: {join_lines(error)}") from None


def _has_text(entry: Any, column: str) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get(column), str)


def _instead(shown: str, entry: Any) -> str:
    """The other key that the prompt may be in, where the entry has one text only."""
    pairs = entry.items() if isinstance(entry, dict) else ()
    texts = [key for key, value in pairs if isinstance(value, str)]
    return f"; to take its {texts[0]!r} write {shown}?column={texts[0]}" if len(texts) == 1 else ""


def _prompt(
    place: str,
    row: Mapping[str, Any],
    column: str,
    folder: Path,
    reading: Reading,
    *,
    has_files: bool,
) -> Prompt:
    text = row.get(column)
    if not isinstance(text, str) or not text.strip():
        raise PromptError(
            f'{place}: its "{column}" is empty; write a prompt, or leave all such rows out: '
            "?skip_empty=true"
        )
    if wrong := _HALF.search(text):
        raise PromptError(
            f'{place}: its "{column}" has {wrong[0]!r}, half of a surrogate pair, which is no '
            "character; write the whole one, or remove it"
        )
    others = {key: value for key, value in row.items() if key != column}
    found = image_columns.found_in(others, folder, place, named=reading.inputs, has_files=has_files)
    return Prompt(text, found.metadata, found.images, found.inputs, place)
