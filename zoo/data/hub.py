"""Prompts of a data set on the Hugging Face Hub: `hub:OWNER/NAME?split=train&column=caption`.

Only the files of the chosen split are fetched, into the Hub's own cache, which later runs read
where there is no network. Splits and configurations are those that the data set's card lists, or
else what its files' names say (see `splits`). `hub:OWNER/NAME/PATH` is one file or one folder.

Images must be in the tables (parquet): files beside them are not fetched.

Code of data sets is never run, so one that is made by a script has to be exported first.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from zoo.data import card, files, splits
from zoo.prompt import Prompt, PromptError
from zoo.registry import one_line, suggest


def load(
    place: str,
    /,
    *,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    column: str | None = None,
) -> list[Prompt]:
    """All prompts of a split, in its files' order.

    Args:
        place: `OWNER/NAME` or `OWNER/NAME/PATH`.
        split: such as train; may be left out where there is only one.
        config: one of the configurations that the card lists.
        revision: a branch, a tag or a commit; by default the main branch as it is now.
        column: where the prompts are; by default `prompt`.

    Raises:
        PromptError: in one line, why there are none.
    """
    owner, _, rest = place.partition("/")
    name, _, inside = rest.partition("/")
    repo = f"{owner}/{name}"
    if not owner or not name:
        raise PromptError(f"prompts 'hub:{place}': a data set's id has the form OWNER/NAME")
    from huggingface_hub import get_cached_repo_tree

    with _said(f"hub:{repo}", revision):
        # The card first: with it the list of files comes, from the Hub or from the cache.
        folder = _fetched(repo, revision, ["README.md"])
        commit = folder.name
        names = [
            entry.path for entry in get_cached_repo_tree(repo, repo_type="dataset", revision=commit)
        ]
        chosen = _chosen(folder, names, f"hub:{repo}", inside.strip("/"), split, config)
        _fetched(repo, commit, chosen)
    found = (files.load(folder / each, f"hub:{repo}/{each}", column=column) for each in chosen)
    return [prompt for prompts in found for prompt in prompts]


def _fetched(repo: str, revision: str | None, names: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=names)
    return Path(folder)


def _chosen(
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
            found = suggest(inside, splits.data_files(names)[:8], "it has")
            raise PromptError(f"prompts '{where}' have no file or folder '{inside}'{found}")
        return [f"{inside}/{name}" for name in splits.choose(below, f"{where}/{inside}", split)]
    listed = card.configurations(folder / "README.md", where)
    if listed:
        return card.choose(listed, names, where, split, config)
    if config is not None:
        raise PromptError(
            f"prompts '{where}' list no configurations, so none is called '{config}'; name a "
            f"folder instead: {where}/FOLDER"
        )
    return splits.choose(names, where, split)


@contextmanager
def _said(where: str, revision: str | None) -> Iterator[None]:
    """Says in one line why the Hub or its cache did not give what was asked for."""
    from huggingface_hub import constants, errors

    repo = where.removeprefix("hub:")
    login = "log in with `hf auth login`, or set HF_TOKEN"
    try:
        yield
    except errors.GatedRepoError:
        page = f"{constants.ENDPOINT}/datasets/{repo}"
        raise PromptError(
            f"prompts '{where}' are gated: ask for access at {page}, {login}"
        ) from None
    except errors.RepositoryNotFoundError:
        raise PromptError(
            f"prompts '{where}': the Hub has no such data set, or it is private; check the id, or "
            f"{login}"
        ) from None
    except errors.RevisionNotFoundError:
        raise PromptError(f"prompts '{where}' have no revision '{revision}'") from None
    except errors.HFValidationError as error:
        raise PromptError(f"prompts '{where}': {one_line(error)}") from None
    except (errors.LocalEntryNotFoundError, errors.CachedRepoTreeNotFoundError) as error:
        why = (
            "HF_HUB_OFFLINE is set"
            if constants.is_offline_mode()
            else f"{constants.ENDPOINT} cannot be reached ({one_line(error.__cause__ or error)})"
        )
        raise PromptError(
            f"prompts '{where}' are not in the Hub's cache ({constants.HF_HUB_CACHE}) and {why}; "
            "fetch them once where there is network"
        ) from None
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        raise PromptError(f"prompts '{where}' cannot be fetched: {one_line(error)}") from None
