"""The reward `vlm_judge`: a question of the recipe's own, put to a vision language model.

`logits` is the score of Edit-R1 (Li et al. 2025, arXiv 2510.16888): the expectation over the tokens
0 to 5 of the answer's first one, over 5. Departs from their code: a server that lists the likeliest
tokens is asked, where theirs reads all logits, so that a token below the list counts nothing; ` 3`
is taken for `3`; and what has no score is NaN, not 0. `text` reads a number of the answer.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from zoo.data.images import open_inputs
from zoo.prompt import Prompt, PromptError, StoredImage
from zoo.reward.base import Images, Reward, Scores
from zoo_unified_reward.answer import Reply
from zoo_unified_reward.data_url import ImageOptions, data_url
from zoo_unified_reward.question import Asked, Template
from zoo_unified_reward.reply import Scale, compiled, read_score
from zoo_unified_reward.server import Retries, Server, Timeouts, checked_url, key_from
from zoo_unified_reward.vision import Question, Rating, VisionModel

_DIGITS = 9


class VLMJudge(Reward):
    """What a vision language model behind an OpenAI-compatible server answers, from 0 to 1.

    The question is the recipe's. A prompt's input images are shown before the one to judge, so that
    edits can be compared with what they were made from. With the form `logits` the model's first
    token is to be a score, and the expectation over all scores counts: finer than the likeliest
    one. With `text` a regular expression finds the number in its answer. An image without a score
    is invalid alone and counted: the metrics `failed` and `unreadable` are 1 for it, and `sure` is
    the probability that the first token is a score at all.
    """

    def __init__(
        self,
        *,
        url: str,
        model: str,
        template: str,
        form: Literal["logits", "text"] = "logits",
        pattern: str | None = None,
        scale: Scale = Scale(0.0, 5.0),  # noqa: B008  (frozen)
        show_inputs: bool | Literal["required"] = True,
        api_key_env: str | None = None,
        image: ImageOptions = ImageOptions(),  # noqa: B008  (frozen)
        max_in_flight: Annotated[int, Ge(1)] = 16,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  (frozen)
        retries: Retries = Retries(),  # noqa: B008  (frozen)
        max_tokens: Annotated[int, Ge(1)] = 512,
        top_logprobs: Annotated[int, Ge(1), Le(20)] = 20,
        temperature: Annotated[float, Ge(0)] = 0.0,
        seed: int | None = None,
        check: bool = True,
    ) -> None:
        """`url` is the API's base: http://127.0.0.1:8000/v1; `model` is as the server names it.

        `template` is the question, with {prompt}; it must say what to answer: for `logits` nothing
        but a whole number of the `scale`, for `text` what `pattern` matches, whose one group is the
        number (the last match counts). A score is (number - lowest) / (highest - lowest). For
        `logits` the scale is of whole numbers of one digit, one token is asked for, and the server
        lists `top_logprobs` of them; `max_tokens` are for `text`. With `show_inputs: required` a
        prompt without an input image is refused before anything is made: for a question that
        compares two. The other options are those of `unified_reward`.

        Raises:
            ValueError: an option cannot be used; the server cannot be reached, or lacks the model.
        """
        self._template, self._scale, self._image = Template.parse(template), scale, image
        self._show_inputs = show_inputs is not False
        if form == "logits":
            self._tokens = _tokens(scale, pattern)
            asked = Asked(model, 1, temperature, seed, top_logprobs)
        else:
            self._pattern = _pattern(pattern)
            asked = Asked(model, max_tokens, temperature, seed)
        self._read = self._expectation if form == "logits" else self._number
        self._model = VisionModel(
            Server(checked_url(url), timeouts, retries, max_in_flight), key_from(api_key_env),
            asked, image, check=check,
        )  # fmt: skip

    def score(self, images: Images, prompts: Sequence[Prompt]) -> Scores:
        """Ratings from 0 to 1; images are rounded to 8 bits.

        Raises:
            ServerError: not one request of the batch succeeded.
            PromptError: an input image cannot be read.
        """
        shown = self._shown(prompts) if self._show_inputs else {}
        questions = [
            Question(self._template.fill(prompt.text), shown.get(prompt.inputs, ()))
            for prompt in prompts
        ]
        return self._model.rate(images, questions, self._read)

    @classmethod
    def check_prompt(cls, prompt: Prompt, options: Mapping[str, Any]) -> None:
        """Looks for an input image, where they are required.

        Raises:
            PromptError: there is none.
        """
        if options["show_inputs"] == "required" and not prompt.inputs:
            raise PromptError(
                f"the prompt {prompt.text!r} comes with no image, and the reward 'vlm_judge' is to "
                "show it beside the one to judge (show_inputs: required); name it in a column "
                "`input`"
            )

    def interrupt(self) -> bool:
        """Gives the requests in flight up; the next call sends new ones."""
        self._model.interrupt()
        return True

    def _shown(self, prompts: Sequence[Prompt]) -> dict[tuple[StoredImage, ...], list[str]]:
        """The data URLs of the prompts' input images, each read once."""
        different = list({prompt.inputs: prompt for prompt in prompts}.values())
        return {
            prompt.inputs: [data_url(np.asarray(picture), self._image) for picture in pictures]
            for prompt, pictures in zip(
                different, open_inputs(different, longest=self._image.size), strict=True
            )
        }

    def _expectation(self, reply: Reply) -> Rating:
        """The mean score by the probabilities of the first token, among the scores alone."""
        mass = dict.fromkeys(self._tokens, 0.0)
        for token, logprob in reply.first:
            if token.strip() in mass:
                mass[token.strip()] += math.exp(logprob)
        sure = sum(mass.values())
        if not reply.first:
            why = "the server lists no log-probabilities (logprobs, top_logprobs)"
            return Rating(math.nan, why, unreadable=True)
        if not 0 < sure < math.inf:
            return self._model.unreadable(reply)
        mean = sum(int(token) * share for token, share in mass.items()) / sure
        return Rating(self._normalised(mean), extras={"sure": sure})

    def _number(self, reply: Reply) -> Rating:
        number = read_score(reply.text, self._scale, pattern=self._pattern, complete=reply.complete)
        return (
            self._model.unreadable(reply) if number != number else Rating(self._normalised(number))
        )

    def _normalised(self, number: float) -> float:
        lowest, highest = self._scale.lowest, self._scale.highest
        return (number - lowest) / (highest - lowest)


def _tokens(scale: Scale, pattern: str | None) -> tuple[str, ...]:
    """The scores as a model writes them, each in one token."""
    if pattern is not None:
        raise ValueError(
            "pattern is for form: text; with form: logits the first token is the score"
        )
    lowest, highest = int(scale.lowest), int(scale.highest)
    if (lowest, highest) != (scale.lowest, scale.highest) or highest > _DIGITS:
        raise ValueError(
            f"form: logits scores by tokens of one digit, and the scale is {scale.lowest:g} to "
            f"{scale.highest:g}; write whole numbers from 0 to {_DIGITS}, or form: text"
        )
    return tuple(str(number) for number in range(lowest, highest + 1))


def _pattern(pattern: str | None) -> re.Pattern[str]:
    if pattern is None:
        raise ValueError(
            "form: text needs a pattern with one group, around the number: "
            r"pattern: 'Score: *(\d+(?:\.\d+)?)'"
        )
    return compiled(pattern)
