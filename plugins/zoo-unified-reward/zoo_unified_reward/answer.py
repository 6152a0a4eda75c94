"""What a chat-completions server answers: replies, refusals, and failures that may pass."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_PASSING = frozenset({408, 409, 425, 429})


class ServerError(Exception):
    """The server could not be used; one line says how."""


@dataclass(frozen=True)
class Reply:
    """What the model said; `complete` is False where `max_tokens` cut it.

    `first` lists what its first token could have been, with the log-probabilities, where that was
    asked for.
    """

    text: str
    complete: bool
    first: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Failure:
    """Why an image has no reply, in one line."""

    reason: str


class Passing(Exception):
    """A failure that may pass, and the seconds that the server asks to wait."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


def may_pass(status: int) -> bool:
    """Whether another try may go better; other codes below 500 are the request's own fault."""
    return status in _PASSING or status >= 500


def reply(answer: Any) -> Reply:
    """What the model said.

    Raises:
        Passing: it is not the answer of a chat completion.
    """
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        text = message.get("content") or message.get("refusal") or ""
        return Reply(str(text), choice.get("finish_reason") != "length", _first(choice))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise Passing(f"the answer has no message: {start(json.dumps(answer).encode())}") from None


def _first(choice: Any) -> tuple[tuple[str, float], ...]:
    """The log-probabilities of the first token, of an answer that has them."""
    tokens = (choice.get("logprobs") or {}).get("content") or [{}]
    listed = tokens[0].get("top_logprobs") or []
    return tuple((str(one["token"]), float(one["logprob"])) for one in listed)


def message(content: bytes) -> str:
    """What an error's body says."""
    try:
        body = json.loads(content)
        inner = body.get("error", body)
        text = inner.get("message", inner) if isinstance(inner, dict) else inner
        return start(str(text).encode())
    except (ValueError, AttributeError):
        return start(content)


def start(content: bytes) -> str:
    """The beginning of an answer, in one line."""
    line = " ".join(content[:2000].decode("utf-8", "replace").split())
    return (line if len(line) <= 200 else line[:197] + "...") or "(nothing)"


def retry_after(header: str | None) -> float:
    """Seconds, from a number of them or a date; 0 without either."""
    if header is None:
        return 0.0
    if re.fullmatch(r"\d+(\.\d+)?", header.strip()):
        return float(header)
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
