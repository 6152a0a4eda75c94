"""A reward that is written for zoo itself, with NumPy in and out: zoo is installed here too."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Union

import numpy as np

from zoo_reward_worker.reward import KnownAnswer, Prompt, Reward, Scores


def is_native(cls: Any) -> bool:
    """Whether it is a subclass of zoo's own interface, which its module has then imported."""
    base = sys.modules.get("zoo.reward.base")
    return base is not None and isinstance(cls, type) and issubclass(cls, base.Reward)


class Native(Reward):
    """Calls a zoo reward."""

    def __init__(self, reward: Any, device: Any) -> None:
        """`device` is a torch.device, where the reward wants its images."""
        self._reward = reward
        self._device = device
        self.groupwise = reward.groupwise  # type: ignore[misc]

    def score(self, images: np.ndarray, prompts: Sequence[Prompt]) -> Union[np.ndarray, Scores]:
        """What the zoo reward says of the same images as floats in [0, 1]."""
        import torch
        from zoo.prompt import Prompt as NativePrompt

        floats = _floats(images, self._device)
        asked = [NativePrompt(prompt.text, prompt.metadata) for prompt in prompts]
        with torch.no_grad():
            found = self._reward.score(floats, asked)
        if isinstance(found, torch.Tensor):
            return _numbers(found)
        extras: Mapping[str, Any] = found.extras
        return Scores(
            _numbers(found.value), {name: _numbers(each) for name, each in extras.items()}
        )

    def known_answers(self) -> Sequence[KnownAnswer]:
        """Those of the zoo reward, its images rounded to 8 bits."""
        return [
            KnownAnswer(
                (answer.images * 255).round().byte().movedim(-3, -1).cpu().numpy(),
                [Prompt(prompt.text, prompt.metadata) for prompt in answer.prompts],
                _numbers(answer.scores),
                answer.tolerance,
            )
            for answer in self._reward.known_answers()
        ]


def _floats(images: np.ndarray, device: Any) -> Any:
    """Images of uint8, channels last, as zoo has them: float32 in [0, 1], channels first."""
    import torch

    if device.type != "cpu":
        # A quarter of the bytes to send.
        return torch.tensor(images).to(device).movedim(-1, -3).contiguous().float().div_(255)
    *batch, height, width, channels = images.shape
    # Fresh memory costs more than the arithmetic: NumPy's is of huge pages where there are any,
    # and only one image's copies are held at a time.
    floats = torch.from_numpy(np.empty((*batch, channels, height, width), np.float32))
    for i, image in enumerate(images):
        floats[i].copy_(torch.tensor(image).movedim(-1, -3)).div_(255)
    return floats


def device_of(name: str) -> Any:
    """The torch.device of that name."""
    import torch

    return torch.device(name)


def _numbers(value: Any) -> np.ndarray:
    found: np.ndarray = value.detach().double().cpu().numpy()
    return found
