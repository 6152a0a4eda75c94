"""The configurations and splits that the card (README.md) of a Hub data set lists.

Source: the Hub's documentation, "Manual configuration" of data sets: `configs` in the card's head,
each with a `config_name` and `data_files`, which are patterns for each split.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from zoo.data import files, splits
from zoo.prompt import PromptError
from zoo.registry import one_line, suggest

Patterns = Mapping[str, list[str]]
"""The patterns of the files of each split."""


def configurations(path: Path, where: str) -> dict[str, Patterns]:
    """What the card lists, by name; nothing if it lists none.

    Raises:
        PromptError: the card cannot be read.
    """
    from huggingface_hub import metadata_load
    from yaml import YAMLError  # type: ignore[import-untyped]

    if not path.exists():
        return {}
    try:
        listed = (metadata_load(path) or {}).get("configs", [])
        return {_name(each): _patterns(each) for each in listed if each.get("data_files")}
    except (YAMLError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise PromptError(
            f"prompts '{where}': the head of its card cannot be read ({one_line(error)}); name a "
            f"file instead: {where}/FILE"
        ) from None


def choose(
    listed: Mapping[str, Patterns],
    names: Sequence[str],
    where: str,
    split: str | None,
    config: str | None,
) -> list[str]:
    """The files of a configuration's split, among `names`.

    Raises:
        PromptError: there is none, or more than one could be meant.
    """
    if config is not None and config not in listed:
        found = suggest(config, list(listed), "it has")
        raise PromptError(f"prompts '{where}' have no configuration '{config}'{found}")
    if config is None and len(listed) > 1:
        ways = " or ".join(f"{where}?config={each}" for each in listed)
        raise PromptError(f"prompts '{where}' hold several configurations; write {ways}")
    patterns = listed[config or next(iter(listed))]
    if split is None and len(patterns) > 1:
        also = f"&config={config}" if config else ""
        ways = " or ".join(f"{where}?split={each}{also}" for each in patterns)
        raise PromptError(f"prompts '{where}' hold several splits; write {ways}")
    if split is not None and split not in patterns:
        found = suggest(split, list(patterns), "splits")
        raise PromptError(f"prompts '{where}' have no split '{split}'{found}")
    wanted = patterns[split or next(iter(patterns))]
    matching = [name for name in names if any(fnmatchcase(name, each) for each in wanted)]
    if not splits.data_files(matching):
        raise PromptError(
            f"prompts '{where}': its card says {', '.join(wanted)}, which is no "
            f"{', '.join(files.SUFFIXES)} file; it has {', '.join(sorted(names)[:8])}"
        )
    return splits.data_files(matching)


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("config_name", "default"))


def _patterns(entry: Mapping[str, Any]) -> Patterns:
    given, below = entry["data_files"], entry.get("data_dir")
    found: dict[str, list[str]] = {}
    for each in given if isinstance(given, list) else [given]:
        # Without a split the files are the training split's.
        said = each if isinstance(each, dict) else {"path": each}
        paths = said["path"] if isinstance(said["path"], list) else [said["path"]]
        full = [f"{below}/{path}" if below else str(path) for path in paths]
        found.setdefault(said.get("split", "train"), []).extend(full)
    return found
