"""A vision model behind a server, asked about a batch of images: what its rewards have alike."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from zoo.reward.base import Images, PerImage, Scores
from zoo_unified_reward.answer import Failure, Reply, ServerError
from zoo_unified_reward.client import ChatClient
from zoo_unified_reward.data_url import ImageOptions, data_url
from zoo_unified_reward.question import Asked
from zoo_unified_reward.server import Server

_log = logging.getLogger("zoo_unified_reward")


@dataclass(frozen=True)
class Rating:
    """A score or NaN; why there is none, and whether the reply was there and could not be read."""

    score: float
    reason: str = ""
    unreadable: bool = False
    extras: Mapping[str, float] = field(default_factory=dict)
    """Further numbers that are recorded beside the score."""


@dataclass(frozen=True)
class Question:
    """What is asked about an image, and the data URLs of the images to show before it."""

    text: str
    before: Sequence[str] = ()


class VisionModel:
    """Asks a server's model about images, many at a time."""

    def __init__(
        self, server: Server, key: str | None, asked: Asked, image: ImageOptions, *, check: bool
    ) -> None:
        """`check` asks the server for its models.

        Raises:
            ValueError: the server cannot be reached, or lacks the model.
        """
        self._server, self._asked, self._image = server, asked, image
        self._client = ChatClient(server, key)
        if check:
            self._require_model()

    def interrupt(self) -> None:
        """Gives the requests in flight up; the next call sends new ones."""
        self._client.interrupt()

    def rate(
        self,
        images: Images,
        questions: Sequence[Question],
        read: Callable[[Reply], Rating],
    ) -> Scores:
        """The rating that `read` finds in the reply about each image; images are rounded to 8 bits.

        The metrics `failed` and `unreadable` are 1 for an image without an answer, or with one that
        gives no score, and 0 for others.

        Raises:
            ServerError: not one request of the batch succeeded.
        """
        ratings = [Rating(math.nan, "the image is not finite") for _ in questions]
        finite = images.flatten(1).isfinite().all(1).tolist()
        asked = [row for row, is_finite in enumerate(finite) if is_finite]
        answers = self._client.ask(self._bodies(images, questions, asked))
        for row, answer in zip(asked, answers, strict=True):
            if isinstance(answer, Reply):
                ratings[row] = read(answer)
            else:
                ratings[row] = Rating(math.nan, answer.reason)
        self._report(ratings, answers)
        names = sorted({name for rating in ratings for name in rating.extras})
        columns: dict[str, Sequence[float]] = {
            "failed": [
                rating.score != rating.score and not rating.unreadable for rating in ratings
            ],
            "unreadable": [rating.unreadable for rating in ratings],
            **{name: [rating.extras.get(name, math.nan) for rating in ratings] for name in names},
        }
        return Scores(
            _column([rating.score for rating in ratings], images),
            {name: _column(column, images) for name, column in columns.items()},
        )

    def unreadable(self, reply: Reply) -> Rating:
        """What is said of a reply that gives no score."""
        cut = "" if reply.complete else f", cut at max_tokens = {self._asked.max_tokens}"
        line = " ".join(reply.text.split())
        excerpt = line if len(line) <= 80 else "..." + line[-77:]
        return Rating(math.nan, f"no readable score in the reply {excerpt!r}{cut}", unreadable=True)

    def _bodies(
        self, images: Tensor, questions: Sequence[Question], rows: Sequence[int]
    ) -> list[Callable[[], bytes]]:
        pixels = (images.detach() * 255.0).round().clamp(0.0, 255.0).to(torch.uint8)
        pictures = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return [partial(self._body, pictures[row], questions[row]) for row in rows]

    def _body(self, pixels: Any, question: Question) -> bytes:
        own = data_url(pixels, self._image)
        return self._asked.body(question.text, [*question.before, own])

    def _report(self, ratings: Sequence[Rating], answers: Sequence[Reply | Failure]) -> None:
        """One line about what has no score; an error where no request succeeded."""
        reasons = Counter(rating.reason for rating in ratings if rating.reason)
        if not reasons:
            return
        common = "; ".join(f"{number} x {reason}" for reason, number in reasons.most_common(3))
        more = f"; {len(reasons) - 3} other reasons" if len(reasons) > 3 else ""
        line = (
            f"{reasons.total()} of {len(ratings)} images have no score from "
            f"{self._asked.model} at {self._server.url}: {common}{more}"
        )
        if answers and all(isinstance(answer, Failure) for answer in answers):
            raise ServerError(line)
        _log.warning(line)

    def _require_model(self) -> None:
        url = self._server.url
        try:
            models = self._client.models()
        except ServerError as error:
            raise ValueError(
                f"the server at {url} cannot be used: {error}; start it, mend the url (it usually "
                "ends with /v1) or api_key_env, or write check: false if it has no /models"
            ) from error
        if self._asked.model not in models:
            shown = ", ".join(models[:10]) or "none"
            raise ValueError(
                f"the server at {url} has no model {self._asked.model!r}; it has: {shown}; "
                "write model: as the server names it"
            )


def _column(numbers: Sequence[float], images: Tensor) -> PerImage:
    return torch.tensor(numbers, dtype=torch.float32, device=images.device)
