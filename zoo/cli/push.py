"""An export on the Hugging Face Hub: what a push needs, and the upload of a folder."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.recipe.recipe import RecipeError
from zoo.registry import one_line


def require_can_push(repo: str) -> None:
    """Looks for what is known to be missing before anything is written.

    Raises:
        RecipeError: `repo` has not the form OWNER/NAME, or there is no token.
    """
    from huggingface_hub import get_token

    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo):
        raise RecipeError(f"--push {repo}: a model's id has the form OWNER/NAME")
    if not get_token():
        raise RecipeError(
            f"--push {repo}: no token for the Hub; log in with `hf auth login`, or set HF_TOKEN to "
            "one that may write"
        )


def pushed(folder: Path, repo: str, *, private: bool) -> str:
    """Uploads a folder's files to a model of the Hub, made if need be; the model's page.

    Raises:
        RecipeError: it cannot be, in one line; the folder stays.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="diffusion-rl-zoo")
    with _said(folder, repo):
        page = api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise ValueError("--private: it is there already and public, so nothing was uploaded")
        api.upload_folder(
            repo_id=repo, folder_path=folder, commit_message="Export of diffusion-rl-zoo"
        )
    return str(page)


@contextmanager
def _said(folder: Path, repo: str) -> Iterator[None]:
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        said = error.server_message or f"it answered {status}"
        why = f"the Hub refused: {' '.join(said.split())[:200]}"
        if status in (401, 403, 404):
            why += (
                f"; the token must be one that may write to {repo.partition('/')[0]} "
                "(`hf auth login`, or HF_TOKEN)"
            )
    except errors.OfflineModeIsEnabled:
        why = "HF_HUB_OFFLINE is set"
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        why = f"{constants.ENDPOINT} cannot be reached ({one_line(error)})"
    except (ValueError, RuntimeError) as error:
        why = one_line(error.__cause__ or error)
    else:
        return
    raise RecipeError(f"--push {repo}: {why}; {folder} is written and can be pushed again")
