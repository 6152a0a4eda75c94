"""The reward `unified_reward`: a vision language model's rating of an image for its prompt.

UnifiedReward (Wang et al. 2025, arXiv 2503.05236) as Flow-GRPO and DiffusionNFT use it:
CodeGoat24/UnifiedReward-7b-v1.5 behind an OpenAI-compatible server, PNG of 512 pixels, temperature
0, `Final Score: 1-5` over 5. Departs from their code: the question is in other words (the option
`template` takes theirs), requests that fail are sent again, and what has no score is NaN, not 0.
"""

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward.base import Reward, Scores
from zoo_unified_reward.answer import Failure, Reply, ServerError
from zoo_unified_reward.client import ChatClient
from zoo_unified_reward.data_url import ImageOptions, data_url
from zoo_unified_reward.question import QUESTION, Asked, Template
from zoo_unified_reward.reply import Scale, read_score
from zoo_unified_reward.server import Retries, Server, Timeouts, checked_url, key_from

_log = logging.getLogger("zoo_unified_reward")

_MODEL = "CodeGoat24/UnifiedReward-7b-v1.5"


@dataclass(frozen=True)
class _Rating:
    """A score or NaN; why there is none, and whether the reply was there and could not be read."""

    score: float
    reason: str = ""
    unreadable: bool = False


class UnifiedReward(Reward):
    """The rating that a vision language model behind an OpenAI-compatible server gives, over 5.

    Any server with /v1/chat/completions and images will do (vLLM, sglang, llama.cpp, OpenAI). An
    image whose request fails for good, or whose reply has no readable score, is invalid alone and
    counted: the metrics `failed` and `unreadable` are 1 for such an image, 0 for others. If all
    requests of a batch fail, the batch does.
    """

    def __init__(
        self,
        *,
        url: str,
        model: str = _MODEL,
        api_key_env: str | None = None,
        template: str = QUESTION,
        scale: Scale = Scale(),  # noqa: B008  (frozen)
        pattern: str | None = None,
        image: ImageOptions = ImageOptions(),  # noqa: B008  (frozen)
        max_in_flight: Annotated[int, Ge(1)] = 16,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  (frozen)
        retries: Retries = Retries(),  # noqa: B008  (frozen)
        max_tokens: Annotated[int, Ge(1)] = 512,
        temperature: Annotated[float, Ge(0)] = 0.0,
        seed: int | None = None,
        check: bool = True,
    ) -> None:
        """`url` is the API's base: http://127.0.0.1:17140/v1; `model` is as the server names it.

        `api_key_env` names an environment variable with the key, which no recipe should hold.
        `template` is the question, with {prompt}. The score, from `scale.lowest` to
        `scale.highest`, is divided by `scale.highest`; it is what follows 'Final Score', or what
        the one group of the regular expression `pattern` matches last. `max_in_flight` requests are
        open at a time, of this process. `seed` is sent where it is given. `check` asks the server
        for its models at the start, so that a run with a wrong url stops at once.

        Raises:
            ValueError: an option cannot be used; the server cannot be reached, or lacks the model.
        """
        self._template = Template.parse(template)
        self._asked = Asked(model, max_tokens, temperature, seed)
        self._scale, self._pattern, self._image = scale, _compile(pattern), image
        self._server = Server(checked_url(url), timeouts, retries, max_in_flight)
        self._client = ChatClient(self._server, key_from(api_key_env))
        if check:
            self._require_model()

    def score(
        self, images: Float[Tensor, "batch 3 height width"], prompts: Sequence[Prompt]
    ) -> Scores:
        """Ratings from `scale.lowest / scale.highest` to 1; images are rounded to 8 bits.

        Raises:
            ServerError: not one request of the batch succeeded.
        """
        ratings = [_Rating(math.nan, "the image is not finite") for _ in prompts]
        finite = images.flatten(1).isfinite().all(1).tolist()
        asked = [row for row, is_finite in enumerate(finite) if is_finite]
        answers = self._client.ask(self._bodies(images, prompts, asked))
        for row, answer in zip(asked, answers, strict=True):
            ratings[row] = self._rate(answer)
        self._report(ratings, answers)
        columns = {
            "failed": [
                rating.score != rating.score and not rating.unreadable for rating in ratings
            ],
            "unreadable": [rating.unreadable for rating in ratings],
        }
        return Scores(
            _column([rating.score for rating in ratings], images),
            {name: _column(column, images) for name, column in columns.items()},
        )

    def interrupt(self) -> bool:
        """Gives the requests in flight up; the next call sends new ones."""
        self._client.interrupt()
        return True

    def _bodies(
        self, images: Tensor, prompts: Sequence[Prompt], rows: Sequence[int]
    ) -> list[Callable[[], bytes]]:
        pixels = (images.detach() * 255.0).round().clamp(0.0, 255.0).to(torch.uint8)
        pictures = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return [partial(self._body, pictures[row], prompts[row].text) for row in rows]

    def _body(self, pixels: Any, text: str) -> bytes:
        return self._asked.body(self._template.fill(text), data_url(pixels, self._image))

    def _rate(self, answer: Reply | Failure) -> _Rating:
        if isinstance(answer, Failure):
            return _Rating(math.nan, answer.reason)
        score = read_score(
            answer.text, self._scale, pattern=self._pattern, complete=answer.complete
        )
        if not math.isnan(score):
            return _Rating(score / self._scale.highest)
        cut = "" if answer.complete else f", cut at max_tokens = {self._asked.max_tokens}"
        reply = " ".join(answer.text.split())
        excerpt = reply if len(reply) <= 80 else "..." + reply[-77:]
        return _Rating(
            math.nan, f"no readable score in the reply {excerpt!r}{cut}", unreadable=True
        )

    def _report(self, ratings: Sequence[_Rating], answers: Sequence[Reply | Failure]) -> None:
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


def _compile(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the pattern {pattern!r} is not a regular expression: {error}") from error
    if compiled.groups != 1:
        raise ValueError(
            f"the pattern {pattern!r} has {compiled.groups} groups; "
            "it needs one, around the number: write (?:...) for the others"
        )
    return compiled


def _column(numbers: Sequence[float], images: Tensor) -> Float[Tensor, " batch"]:
    return torch.tensor(numbers, dtype=torch.float32, device=images.device)
