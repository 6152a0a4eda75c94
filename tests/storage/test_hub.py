"""What the Hub refused is told apart, with huggingface_hub's own errors, and said in a line."""

import errno
from importlib import import_module

import pytest
from huggingface_hub import constants, errors

from zoo.storage.hub import Request, raising, why_not_uploaded

# The client that this version of huggingface_hub is made with.
httpx = import_module(errors.HTTPError.__module__.partition(".")[0])

PAGE = "https://huggingface.co/ann/lora"


@pytest.fixture(autouse=True)
def hub(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "https://huggingface.co")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/cache")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def answer(cls, status, server_message=None):
    """An error of huggingface_hub's with the response that it is of."""
    response = httpx.Response(status, request=httpx.Request("GET", PAGE))
    return cls(f"{status} of\nseveral lines", response=response, server_message=server_message)


def caused(error, cause):
    error.__cause__ = cause
    return error


def no_route():
    return httpx.ConnectError("no route\nto host")


def missing(cause=None):
    return caused(errors.LocalEntryNotFoundError("not in the cache"), cause)


LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
UNREACHED = "https://huggingface.co cannot be reached (ConnectError: no route)"
FETCH = "fetch it once where there is network, or name files that are here"
NO_ROOM = "there is no room for it in the Hub's cache (/cache); make some, or set HF_HOME"

CASES = {
    "gated": (
        lambda: answer(errors.GatedRepoError, 403),
        f"it is gated: accept its terms at {PAGE}, then {LOGIN}",
    ),
    "not found": (
        lambda: answer(errors.RepositoryNotFoundError, 404),
        f"the Hub has no such model, or it is private: check the id, or {LOGIN}",
    ),
    "no revision": (
        lambda: answer(errors.RevisionNotFoundError, 404),
        "it has no revision 'v9' on the Hub",
    ),
    "no id": (
        lambda: errors.HFValidationError("Repo id must be ..."),
        "'ann/lora' is no id of the Hub, which has the form OWNER/NAME",
    ),
    "no file": (
        lambda: answer(errors.RemoteEntryNotFoundError, 404),
        "it has no such file on the Hub (404 of)",
    ),
    "no network": (
        lambda: missing(no_route()),
        f"it is not in the Hub's cache (/cache) and {UNREACHED}; {FETCH}",
    ),
    "a hub that is down": (
        lambda: missing(answer(errors.HfHubHTTPError, 503)),
        f"it is not in the Hub's cache (/cache) and the Hub refused: it answered 503; {FETCH}",
    ),
    "no list of files": (
        lambda: caused(errors.CachedRepoTreeNotFoundError("no tree"), no_route()),
        f"it is not in the Hub's cache (/cache) and {UNREACHED}; {FETCH}",
    ),
    "no network while it is fetched": (no_route, UNREACHED),
    "no answer": (
        lambda: TimeoutError("too slow"),
        "https://huggingface.co cannot be reached (TimeoutError: too slow)",
    ),
    "offline": (lambda: errors.OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE is set"),
    "no token": (
        lambda: errors.LocalTokenNotFoundError("no token"),
        f"no token for the Hub; {LOGIN}",
    ),
    "too many requests": (
        lambda: answer(errors.HfHubHTTPError, 429, "slow\ndown"),
        "the Hub refused: slow down",
    ),
    "disk full": (
        lambda: OSError(errno.ENOSPC, "No space left on device"),
        f"{NO_ROOM} to a folder on another disk",
    ),
    "a cache that cannot be written": (
        lambda: PermissionError(errno.EACCES, "Permission denied", "/cache/models--ann--lora"),
        "the Hub's cache (/cache) cannot be written (Permission denied: /cache/models--ann--lora); "
        "set HF_HOME to a folder that can be",
    ),
    "quota": (
        lambda: OSError(errno.EDQUOT, "Disk quota exceeded"),
        f"{NO_ROOM} to a folder on another disk",
    ),
}


@pytest.mark.parametrize(("make", "expected"), CASES.values(), ids=CASES)
def test_each_reason_is_told_apart_in_a_line(make, expected):
    request = Request("ann/lora", revision="v9")
    assert request.refusal(make()) == expected
    # diffusers and transformers raise errors of their own.
    assert request.refusal(caused(OSError("cannot load it"), make())) == expected
    with (
        pytest.raises(RuntimeError) as raised,
        raising(request, lambda why: RuntimeError(f"x: {why}")),
    ):
        raise make()
    assert str(raised.value) == f"x: {expected}"


def test_with_the_network_switched_off_that_is_the_reason(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    why = Request("ann/lora").refusal(missing())
    assert why == f"it is not in the Hub's cache (/cache) and HF_HUB_OFFLINE is set; {FETCH}"


def test_a_data_set_has_its_own_page_and_word():
    request = Request("ann/birds", "dataset")
    gated = request.refusal(answer(errors.GatedRepoError, 403))
    assert "accept its terms at https://huggingface.co/datasets/ann/birds, then" in gated
    unknown = request.refusal(answer(errors.RepositoryNotFoundError, 404))
    assert unknown.startswith("the Hub has no such data set, or it is private")


def test_what_is_not_of_the_hub_is_left_to_others():
    request = Request("ann/lora")
    assert request.refusal(OSError("folder/config.json is broken")) is None
    assert request.refusal(ValueError("another architecture")) is None
    with pytest.raises(ValueError, match="another"), raising(request, RuntimeError):
        raise ValueError("another architecture")
    # Of files that are fetched any failure of the disk is one.
    with pytest.raises(RuntimeError, match="PermissionError: no"), raising(request, RuntimeError):
        raise PermissionError("no")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_upload_that_is_refused_names_the_right_that_the_token_lacks(status):
    why = why_not_uploaded(answer(errors.HfHubHTTPError, status, "You may not"), "ann/tuned")
    assert why == (
        "the Hub refused: You may not; the token must be one that may write to ann "
        "(`hf auth login`, or HF_TOKEN)"
    )


def test_an_upload_that_fails_otherwise_says_why():
    assert why_not_uploaded(answer(errors.HfHubHTTPError, 500), "a/b") == (
        "the Hub refused: it answered 500"
    )
    assert why_not_uploaded(no_route(), "a/b") == UNREACHED
    assert why_not_uploaded(ValueError("a bad file"), "a/b") == "ValueError: a bad file"
