"""What the Hugging Face Hub refused, or its cache, as one line that says what to do."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from zoo.errors import first_line, one_line

LOGIN = "log in with `hf auth login`, or set HF_TOKEN"

_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)

_MOST = 200
"""Characters of what the Hub itself says."""


@dataclass(frozen=True)
class Request:
    """Files of a repository that are asked for."""

    repo: str
    kind: Literal["model", "dataset"] = "model"
    revision: str | None = None

    def refusal(self, error: BaseException) -> str | None:
        """Why there are none, where the Hub or its cache is the reason; else nothing.

        The reason may be the cause of the error: diffusers and transformers raise their own.
        """
        return next(filter(None, map(self._reason, _chain(error))), None)

    def _reason(self, error: BaseException) -> str | None:
        from huggingface_hub import errors

        # From the most special on: a gated repository is also one that is not found.
        if isinstance(error, errors.GatedRepoError):
            return f"it is gated: accept its terms at {self._page}, then {LOGIN}"
        if isinstance(error, errors.RepositoryNotFoundError):
            noun = {"model": "model", "dataset": "data set"}[self.kind]
            return f"the Hub has no such {noun}, or it is private: check the id, or {LOGIN}"
        if isinstance(error, errors.RevisionNotFoundError):
            return f"it has no revision '{self.revision}' on the Hub"
        if isinstance(error, errors.HFValidationError):
            return f"'{self.repo}' is no id of the Hub, which has the form OWNER/NAME"
        if isinstance(error, errors.RemoteEntryNotFoundError):
            return f"it has no such file on the Hub ({first_line(error)})"
        if isinstance(error, (errors.LocalEntryNotFoundError, errors.CachedRepoTreeNotFoundError)):
            return self._missing(error)
        return _refusal(error)

    @property
    def _page(self) -> str:
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{'datasets/' if self.kind == 'dataset' else ''}{self.repo}"

    def _missing(self, error: BaseException) -> str:
        from huggingface_hub import constants

        network = _refusal(error.__cause__) if error.__cause__ else None
        if constants.is_offline_mode():
            network = "HF_HUB_OFFLINE is set"
        network = network or f"{constants.ENDPOINT} cannot be reached ({one_line(error)})"
        return (
            f"it is not in the Hub's cache ({constants.HF_HUB_CACHE}) and {network}; "
            "fetch it once where there is network, or name files that are here"
        )


@contextmanager
def raising(request: Request, refuse: Callable[[str], Exception]) -> Iterator[None]:
    """Raises `refuse` of the reason where the Hub, the network or the disk gives no files."""
    from huggingface_hub import errors

    try:
        yield
    except Exception as error:
        why = request.refusal(error)
        if why is None and isinstance(error, (errors.HTTPError, OSError)):  # type: ignore[attr-defined]
            why = one_line(error)
        if why is None:
            raise
        raise refuse(why) from None


def why_not_uploaded(error: Exception, repo: str) -> str:
    """Why the Hub did not take files for a repository."""
    from huggingface_hub import errors

    why = _refusal(error) or one_line(error.__cause__ or error)
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403, 404):
        owner = repo.partition("/")[0]
        why += f"; the token must be one that may write to {owner} (`hf auth login`, or HF_TOKEN)"
    return why


def _refusal(error: BaseException) -> str | None:
    """What is the same for all files, whatever was to be done with them."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"no token for the Hub; {LOGIN}"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        text = " ".join((error.server_message or f"it answered {status}").split())
        return f"the Hub refused: {text[:_MOST]}"
    # httpx's and Python's own: no name, no route, no answer in time.
    network = (errors.HTTPError, ConnectionError, TimeoutError)  # type: ignore[attr-defined]
    if isinstance(error, network):
        return f"{constants.ENDPOINT} cannot be reached ({one_line(error)})"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"there is no room for it in the Hub's cache ({constants.HF_HUB_CACHE}); make some, "
            "or set HF_HOME to a folder on another disk"
        )
    if isinstance(error, OSError) and error.filename and error.errno in _NOT_WRITABLE:
        return (
            f"the Hub's cache ({constants.HF_HUB_CACHE}) cannot be written ({error.strerror}: "
            f"{error.filename}); set HF_HOME to a folder that can be"
        )
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, and so on."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__
