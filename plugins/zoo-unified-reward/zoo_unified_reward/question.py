"""The question about one image, as the body of a chat-completions request."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import Formatter

QUESTION = """\
Rate how well this generated image serves its caption. Weigh two things:
1. Alignment: the objects, their attributes, their number and their relations are as in the caption.
2. Quality: the image is sharp, detailed, free of artefacts, and pleasant to look at.
End with a line 'Final Score:' and a number from 1 (worst) to 5 (best).
Caption: [{prompt}]"""
"""What is asked unless a recipe says otherwise; `{prompt}` is the image's prompt."""

_BRACES = "write {{ and }} for braces that the model should see"


@dataclass(frozen=True)
class Template:
    """A question with a gap, or several, for the prompt."""

    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Reads a question with `{prompt}` in it.

        Raises:
            ValueError: it has no `{prompt}`, or other placeholders.
        """
        parts = tuple(_parts(text))
        if len(parts) == 1:
            raise ValueError(
                f"the template {_start(text)!r} has no {{prompt}}, so the model would not know "
                "what the image should show; put {prompt} where the prompt belongs"
            )
        return cls(parts)

    def fill(self, prompt: str) -> str:
        """The question about an image of this prompt; braces in the prompt are left alone."""
        return prompt.join(self.parts)


def _parts(text: str) -> Iterator[str]:
    """What stands before, between and after the placeholders."""
    before = ""
    try:
        pieces = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"the template {_start(text)!r} has a stray brace; {_BRACES}") from error
    for literal, field, form, conversion in pieces:
        before += literal
        if field is None:
            continue
        if field != "prompt" or form or conversion:
            raise ValueError(
                f"the template {_start(text)!r} has the placeholder {{{field}}} with format "
                f"'{form or conversion}'; only plain {{prompt}} is known; {_BRACES}"
                if field == "prompt"
                else f"the template {_start(text)!r} has the unknown placeholder {{{field}}}; "
                f"only {{prompt}} is known; {_BRACES}"
            )
        yield before
        before = ""
    yield before


def _start(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "..."


@dataclass(frozen=True)
class Asked:
    """How the model is to reply: what a request says besides the question."""

    model: str
    max_tokens: int
    temperature: float
    seed: int | None
    top_logprobs: int | None = None
    """How many of the likeliest tokens to list with their log-probabilities, if any."""

    def body(self, question: str, image_urls: Sequence[str]) -> bytes:
        """The JSON of a request: the images, then the question, as the models were trained."""
        request: dict[str, object] = {
            "model": self.model,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        *({"type": "image_url", "image_url": {"url": url}} for url in image_urls),
                        {"type": "text", "text": question},
                    ],
                }
            ],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }
        if self.seed is not None:
            request["seed"] = self.seed
        if self.top_logprobs is not None:
            request |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return json.dumps(request).encode()
