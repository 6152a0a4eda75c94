"""Which files of a folder hold a split, by the names that data sets give their files.

`train.txt`, `test_metadata.jsonl`, `data/train-00000-of-00002.parquet` and `train/0000.parquet` say
it themselves. A folder with several splits needs one to be chosen: there is no default, so nobody
evaluates on training prompts unawares.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from zoo.data.files import SUFFIXES
from zoo.errors import suggest
from zoo.prompt import PromptError

_WORDS = (
    "train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval",
    "evaluation",
)  # fmt: skip
_SHARD = re.compile(r"(?P<split>.*?)-\d+-of-\d+")
# What the `datasets` library writes beside the data.
_ABOUT = frozenset(("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"))


def data_files(names: Iterable[str]) -> list[str]:
    """Those that prompts can be read from, sorted."""
    paths = map(PurePosixPath, names)
    return sorted(
        str(path)
        for path in paths
        if path.suffix.lower() in SUFFIXES and path.name not in _ABOUT and path.name[0] != "."
    )


def choose(names: Sequence[str], where: str, split: str | None) -> list[str]:
    """The files of a split, several only if they are its shards; `where` is the folder's source.

    Without a split: the folder's only one, or its only file.

    Raises:
        PromptError: there is none, or more than one could be meant.
    """
    files = data_files(names)
    if not files:
        found = f"; it has {', '.join(sorted(names)[:8])}" if names else ""
        raise PromptError(f"prompts '{where}' hold no {', '.join(SUFFIXES)} file{found}")
    by_split: dict[str, list[str]] = {}
    for name in files:
        by_split.setdefault(_split(name), []).append(name)
    unnamed = by_split.pop("", [])
    if split is None and len(by_split) > 1:
        ways = " or ".join(f"{where}?split={each}" for each in sorted(by_split))
        raise PromptError(f"prompts '{where}' hold several splits; write {ways}")
    if split is not None and split not in by_split:
        raise PromptError(
            f"prompts '{where}' have no split '{split}'"
            f"{suggest(split, sorted(by_split), 'splits')}; or name a file: {where}/{files[0]}"
        )
    chosen = by_split[split] if split else next(iter(by_split.values()), unnamed)
    if len(chosen) > 1 and not _shards(chosen):
        raise PromptError(
            f"prompts '{where}' hold several files that could be meant: "
            f"{', '.join(chosen[:8])}; name one: {where}/{chosen[0]}"
        )
    return chosen


def _split(name: str) -> str:
    """The split that a file's name or else a folder's says, or nothing."""
    path = PurePosixPath(name)
    shard = _SHARD.fullmatch(path.stem)
    if shard:
        return shard["split"]
    for part in (path.stem, *reversed(path.parent.parts)):
        for word in re.split(r"[^a-z0-9]+", part.lower()):
            if word in _WORDS:
                return word
    return ""


def _shards(names: Sequence[str]) -> bool:
    """Whether files are pieces of one table: only numbers tell them apart."""
    return len({re.sub(r"\d+", "0", name) for name in names}) == 1
