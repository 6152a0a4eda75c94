"""The reward `unified_reward`: a vision language model's rating of an image for its prompt.

UnifiedReward (Wang et al. 2025, arXiv 2503.05236) as Flow-GRPO and DiffusionNFT use it:
CodeGoat24/UnifiedReward-7b-v1.5 behind an OpenAI-compatible server, PNG of 512 pixels, temperature
0, `Final Score: 1-5` over 5. Departs from their code: the question is in other words (the option
`template` takes theirs), requests that fail are sent again, and what has no score is NaN, not 0.
"""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge

from zoo.prompt import Prompt
from zoo.reward.base import Images, Reward, Scores
from zoo_unified_reward.answer import Reply
from zoo_unified_reward.data_url import ImageOptions
from zoo_unified_reward.question import QUESTION, Asked, Template
from zoo_unified_reward.reply import Scale, compiled, read_score
from zoo_unified_reward.server import Retries, Server, Timeouts, checked_url, key_from
from zoo_unified_reward.vision import Question, Rating, VisionModel

_MODEL = "CodeGoat24/UnifiedReward-7b-v1.5"


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
        self._scale, self._pattern = scale, None if pattern is None else compiled(pattern)
        self._model = VisionModel(
            Server(checked_url(url), timeouts, retries, max_in_flight), key_from(api_key_env),
            Asked(model, max_tokens, temperature, seed), image, check=check,
        )  # fmt: skip

    def score(self, images: Images, prompts: Sequence[Prompt]) -> Scores:
        """Ratings from `scale.lowest / scale.highest` to 1; images are rounded to 8 bits.

        Raises:
            ServerError: not one request of the batch succeeded.
        """
        questions = [Question(self._template.fill(prompt.text)) for prompt in prompts]
        return self._model.rate(images, questions, self._rate)

    def interrupt(self) -> bool:
        """Gives the requests in flight up; the next call sends new ones."""
        self._model.interrupt()
        return True

    def _rate(self, reply: Reply) -> Rating:
        score = read_score(reply.text, self._scale, pattern=self._pattern, complete=reply.complete)
        if score != score:
            return self._model.unreadable(reply)
        return Rating(score / self._scale.highest)
