"""Prompts from a data set on the Hugging Face Hub."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from zoo.data import files, splits
from zoo.errors import one_line, suggest
from zoo.prompt import Prompt, PromptError
from zoo.storage.hub import Request, raising

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
        return {_name(entry): _patterns(entry) for entry in listed if entry.get("data_files")}
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
        hint = suggest(config, list(listed), "it has")
        raise PromptError(f"prompts '{where}' have no configuration '{config}'{hint}")
    if config is None and len(listed) > 1:
        ways = " or ".join(f"{where}?config={name}" for name in listed)
        raise PromptError(f"prompts '{where}' hold several configurations; write {ways}")
    patterns = listed[config or next(iter(listed))]
    if split is None and len(patterns) > 1:
        also = f"&config={config}" if config else ""
        ways = " or ".join(f"{where}?split={name}{also}" for name in patterns)
        raise PromptError(f"prompts '{where}' hold several splits; write {ways}")
    if split is not None and split not in patterns:
        hint = suggest(split, list(patterns), "splits")
        raise PromptError(f"prompts '{where}' have no split '{split}'{hint}")
    wanted = patterns[split or next(iter(patterns))]
    matching = [name for name in names if any(fnmatchcase(name, pattern) for pattern in wanted)]
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
    patterns: dict[str, list[str]] = {}
    for item in given if isinstance(given, list) else [given]:
        # Without a split the files are the training split's.
        of_split = item if isinstance(item, dict) else {"path": item}
        paths = of_split["path"] if isinstance(of_split["path"], list) else [of_split["path"]]
        full = [f"{below}/{path}" if below else str(path) for path in paths]
        patterns.setdefault(of_split.get("split", "train"), []).extend(full)
    return patterns


def load(
    place: str,
    /,
    *,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    reading: files.Reading = files.AS_USUAL,
) -> list[Prompt]:
    """All prompts of a split, in its files' order.

    Args:
        place: `OWNER/NAME` or `OWNER/NAME/PATH`.
        split: such as train; may be left out where there is only one.
        config: one of the configurations that the card lists.
        revision: a branch, a tag or a commit; by default the main branch as it is now.
        reading: how its files are read.

    Raises:
        PromptError: in one line, why there are none.
    """
    owner, _, rest = place.partition("/")
    name, _, inside = rest.partition("/")
    repo = f"{owner}/{name}"
    if not owner or not name:
        raise PromptError(f"prompts 'hub:{place}': a data set's id has the form OWNER/NAME")
    from huggingface_hub import get_cached_repo_tree

    where = f"hub:{repo}"

    def refuse(why: str) -> PromptError:
        return PromptError(f"prompts '{where}' cannot be had: {why}")

    with raising(Request(repo, "dataset", revision), refuse):
        # The card first: with it the list of files comes, from the Hub or from the cache.
        folder = _fetch(repo, revision, ["README.md"])
        commit = folder.name
        names = [
            entry.path for entry in get_cached_repo_tree(repo, repo_type="dataset", revision=commit)
        ]
        chosen = _choose(folder, names, where, inside.strip("/"), split, config)
        _fetch(repo, commit, chosen)

    def load_file(name: str) -> list[Prompt]:
        def fetch(paths: list[str]) -> None:
            beside = PurePosixPath(name).parent
            wanted = {str(beside / path) for path in paths}.intersection(names)
            if wanted:
                with raising(Request(repo, "dataset", revision), refuse):
                    _fetch(repo, commit, sorted(wanted))

        return files.load(folder / name, f"{where}/{name}", fetch, reading=reading)

    return [prompt for name in chosen for prompt in load_file(name)]


def _fetch(repo: str, revision: str | None, names: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=names)
    return Path(folder)


def _choose(
    folder: Path,
    names: Sequence[str],
    where: str,
    inside: str,
    split: str | None,
    config: str | None,
) -> list[str]:
    if inside in names:
        return [inside]
    if inside:
        below = [name.removeprefix(f"{inside}/") for name in names if name.startswith(f"{inside}/")]
        if not below:
            hint = suggest(inside, splits.data_files(names)[:8], "it has")
            raise PromptError(f"prompts '{where}' have no file or folder '{inside}'{hint}")
        return [f"{inside}/{name}" for name in splits.choose(below, f"{where}/{inside}", split)]
    listed = configurations(folder / "README.md", where)
    if listed:
        return choose(listed, names, where, split, config)
    if config is not None:
        raise PromptError(
            f"prompts '{where}' list no configurations, so none is called '{config}'; name a "
            f"folder instead: {where}/FOLDER"
        )
    return splits.choose(names, where, split)
