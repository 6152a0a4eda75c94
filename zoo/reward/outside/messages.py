"""Rewards elsewhere: what is asked and answered, as the messages of `zoo_reward_worker.wire`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from zoo_reward_worker.wire import Message, WireError

from zoo.errors import one_line
from zoo.prompt import Prompt
from zoo.reward.base import ImagesOrVideos, KnownAnswer, Scores


def question(pixels: np.ndarray, prompts: Sequence[Prompt]) -> Message:
    """Asks for the scores of uint8 images [batch, *frames, height, width, 3]."""
    return Message({"kind": "score", "prompts": as_json(prompts)}, {"images": pixels})


def as_json(prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """Prompts as JSON holds them; the files that belong to one stay here."""
    return [{"text": prompt.text, "metadata": dict(prompt.metadata)} for prompt in prompts]


def pixels(images: ImagesOrVideos) -> np.ndarray:
    """Images in [0, 1] as uint8 [batch, *frames, height, width, 3], rounded."""
    *batch, channels, height, width = images.shape
    rounded = torch.empty((*batch, height, width, channels), dtype=torch.uint8)
    # One by one: fresh memory for floats of a whole batch costs more than the arithmetic.
    for i, image in enumerate(images):
        levels = (image * 255).round_().clamp_(0, 255).to(torch.uint8)
        rounded[i] = levels.movedim(-3, -1)
    return rounded.numpy()


def scores(reply: Message, device: torch.device) -> Any:
    """The values of a reply, with its extras where it has any.

    They are looked at by the judge: the reward elsewhere may have any shape.

    Raises:
        WireError: it has no scores.
    """
    if "value" not in reply.arrays:
        raise WireError("the reply to a question has no scores")
    arrays = {name: _tensor(array).to(device) for name, array in reply.arrays.items()}
    extras = {
        name.removeprefix("extra/"): numbers
        for name, numbers in arrays.items()
        if name.startswith("extra/")
    }
    return Scores(arrays["value"], extras) if extras else arrays["value"]


def known_answers(reply: Message) -> list[KnownAnswer]:
    """Those that a reply lists.

    Raises:
        WireError: it lists none.
    """
    try:
        return [
            KnownAnswer(
                _tensor(reply.arrays[f"images/{i}"]).movedim(-1, -3).float() / 255,
                [Prompt(prompt["text"], prompt["metadata"]) for prompt in known["prompts"]],
                _tensor(reply.arrays[f"scores/{i}"]),
                float(known["tolerance"]),
            )
            for i, known in enumerate(reply.header["answers"])
        ]
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise WireError(f"the reply lists no known answers: {one_line(error)}") from error


def _tensor(array: np.ndarray) -> Tensor:
    # Copied: else every number would keep the whole message.
    return torch.from_numpy(array.copy())
