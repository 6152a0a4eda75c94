"""The reward `remote`: a reward that `zoo serve` runs, on another machine or in another process.

Images go there rounded to 8 bits, as they would into any file.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor
from zoo_reward_worker import PROTOCOL
from zoo_reward_worker.wire import Message, WireError, decode, encode

from zoo.prompt import Prompt
from zoo.reward.base import ImagesOrVideos, KnownAnswer, Reward, Scores
from zoo.reward.outside import messages as message
from zoo.reward.outside.address import is_spaced, parse_address

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
_CONNECT_TIMEOUT = 10.0
# A proxy whose server is away, or a server that is busy: another try may go better.
_PASSING = frozenset({429, 502, 503, 504})
_MB = 1 << 20


class _Description(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    groupwise: bool
    max_request: int
    takes: Literal["images", "videos", "both"] = "images"
    """Servers of earlier versions do not say, and know no videos."""


class RemoteError(Exception):
    """The server cannot be used, or its reward raised; in one line."""


class Remote(Reward):
    """The reward that `zoo serve` runs at an address; it prints the line for a recipe."""

    chosen_by = ("url",)
    has_networks = False

    def __init__(
        self,
        *,
        url: str,
        token_env: str | None = None,
        timeout: Annotated[float, Gt(0)] = 120.0,
        max_request: Annotated[int, Ge(1)] = 64,
        retries: Annotated[int, Ge(0)] = 4,
    ) -> None:
        """`url` is the server's: http://HOST:8100; its reward says whether it is groupwise.

        `token_env` names the environment variable with the server's token. A request may take
        `timeout` seconds and `max_request` MB (2**20 bytes), or what the server allows if that is
        less; larger batches go in several requests. One that finds no server is sent up to
        `retries` times more, after 0.5 s, 1 s and so on up to 30 s.

        Raises:
            ValueError: the server cannot be reached, wants another token, or is of another version.
        """
        import httpx

        self._url, self._retries = _require_url(url), retries
        headers = {"Authorization": f"Bearer {_token(token_env)}"} if token_env else {}
        self._client = httpx.Client(
            base_url=self._url,
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT)),
            # No proxy, and no passwords of ~/.netrc: rewards are served within a cluster.
            trust_env=False,
        )
        try:
            described = self._describe()
        except RemoteError as error:
            self._client.close()
            raise ValueError(str(error)) from error
        self._name = described.name
        self._most_bytes = min(max_request * _MB, described.max_request)
        self.groupwise = described.groupwise  # type: ignore[misc]
        self.takes = described.takes  # type: ignore[misc]

    def score(self, images: ImagesOrVideos, prompts: Sequence[Prompt]) -> Any:
        """What the server's reward says; the judge looks at whether it is one number an image.

        Raises:
            RemoteError: the reward raised, the server is away, or an image is too large for it.
        """
        pixels = message.pixels(images)
        parts = [
            message.scores(
                self._ask("POST", "/score", message.question(pixels[rows], prompts[rows])),
                images.device,
            )
            for rows in self._split(pixels, prompts)
        ]
        return _join(parts)

    def known_answers(self) -> Sequence[KnownAnswer]:
        """Those of the server's reward."""
        return message.known_answers(self._ask("GET", "/known_answers"))

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def _split(self, pixels: np.ndarray, prompts: Sequence[Prompt]) -> Iterator[slice]:
        """Rows that go into a request together; of a groupwise reward all."""
        # Beside the arrays and prompts a message has a few short names.
        empty = 1024
        sizes = [
            image.nbytes + len(json.dumps(prompt)) + 2
            for image, prompt in zip(pixels, message.as_json(prompts), strict=True)
        ]
        self._require_fitting(empty + (sum(sizes) if self.groupwise else max(sizes, default=0)))
        first, total = 0, empty
        for row, size in enumerate(sizes):
            if total + size > self._most_bytes:
                yield slice(first, row)
                first, total = row, empty
            total += size
        if sizes:
            yield slice(first, len(sizes))

    def _require_fitting(self, size: int) -> None:
        """Refuses what cannot be split: an image, or a groupwise reward's group."""
        if size > self._most_bytes:
            raise RemoteError(
                f"{'a group' if self.groupwise else 'an image'} takes {size / _MB:.3g} MB and a "
                f"request to {self._url} may have {self._most_bytes / _MB:.3g} MB; raise "
                "max_request here, and --max-request of zoo serve"
            )

    def _describe(self) -> "_Description":
        """What the server says of itself."""
        hint = "start it with `zoo serve`, or mend the url"
        try:
            content = self._content("GET", "/describe", None)
            described: Any = json.loads(content)
            protocol = described["protocol"]
        except _Away as error:
            raise RemoteError(f"no reward is served at {self._url}: {error}; {hint}") from None
        except (ValueError, TypeError, KeyError):
            raise RemoteError(f"what answers at {self._url} is not `zoo serve`; {hint}") from None
        if protocol != PROTOCOL:
            raise RemoteError(
                f"the server at {self._url} speaks protocol {protocol} and this zoo {PROTOCOL}; "
                "install the same version of zoo on both sides"
            )
        try:
            return _Description.model_validate(described)
        except ValidationError:
            raise RemoteError(f"what answers at {self._url} is not `zoo serve`; {hint}") from None

    def _ask(self, method: str, path: str, asked: Message | None = None) -> Message:
        """A reply, with waits and further tries while the server is away."""
        body = None if asked is None else encode(asked)
        for attempt in range(self._retries + 1):
            if attempt:
                time.sleep(min(_FIRST_WAIT * 2.0 ** (attempt - 1), _LONGEST_WAIT))
            try:
                return decode(self._content(method, path, body))
            except _Away as error:
                reason = str(error)
            except WireError as error:
                raise RemoteError(f"{self._url} answered what is no message: {error}") from None
        tries = f" ({self._retries + 1} tries)" if self._retries else ""
        raise RemoteError(f"'{self._name}' at {self._url} cannot be reached: {reason}{tries}")

    def _content(self, method: str, path: str, body: bytes | None) -> bytes:
        """The answer's bytes.

        Raises:
            RemoteError: the server refuses, or its reward raised.
            _Away: there is no server now.
        """
        import httpx

        try:
            response = self._client.request(method, path, content=body)
        except httpx.RequestError as error:
            raise _Away(f"{type(error).__name__}: {error}") from None
        if response.is_success:
            return response.content
        if response.status_code in _PASSING:
            raise _Away(f"HTTP {response.status_code}")
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise RemoteError(
                f"the server at {self._url} wants another token; name as token_env the environment "
                "variable that holds the token of zoo serve --token-env"
            )
        raise RemoteError(
            f"{self._url}{path}: HTTP {response.status_code}: {_error_text(response)}"
        )


def _join(parts: Sequence[Tensor | Scores]) -> Tensor | Scores:
    """The scores of all parts in order; NaN for an extra that a part lacks."""
    whole = [part if isinstance(part, Scores) else Scores(part) for part in parts]
    value = torch.cat([part.value for part in whole]) if whole else torch.zeros(0)
    names = dict.fromkeys(name for part in whole for name in part.extras)
    extras = {
        name: torch.cat(
            [part.extras.get(name, torch.full_like(part.value, torch.nan)) for part in whole]
        )
        for name in names
    }
    return Scores(value, extras) if extras else value


class _Away(Exception):
    """There is no server, now; there may be one later."""


def _error_text(response: Any) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return " ".join(response.text.split())[:200] or "(nothing)"


def _require_url(url: str) -> str:
    write = "http://HOST:8100"
    parse_address(url, path="", write=write, secret="name a variable with the token as token_env")
    if is_spaced(url):
        raise ValueError(f"the url {url!r} has a space; write url: {write}")
    return url.rstrip("/")


def _token(variable: str) -> str:
    token = os.environ.get(variable, "").strip()
    if not token or not token.isascii() or not token.isprintable():
        shown = repr(variable) if variable.isidentifier() else "(not a name)"
        raise ValueError(
            f"token_env names the environment variable {shown}, which holds no token; "
            "export the token that zoo serve was started with"
        )
    return token
