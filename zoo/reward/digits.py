"""Rewards of the embedded digits task: a small CNN to train on, and a judge of another kind.

They learn from different halves of the data set, so a policy that deceives the one does not deceive
the other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo.data.digits import WORDS, Labelled, digits_of, grey, halves
from zoo.devices import send
from zoo.prompt import Prompt
from zoo.reward.base import Features, Images, KnownAnswer, NetworkBytes, PerImage, Reward, Scores
from zoo.reward.networks.shipped import load_shipped, shipped_bytes


class Classifier(nn.Sequential):
    """A CNN of 26k parameters: grey images [batch, 1, 8, 8] in [-1, 1] to ten logits."""

    def __init__(self) -> None:
        """Random weights from torch's global generator."""
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.GELU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(256, len(WORDS)),
        )


class _AskedDigit(Reward):
    @classmethod
    def check_prompt(cls, prompt: Prompt, options: Mapping[str, Any]) -> None:
        """Looks for the digit.

        Raises:
            PromptError: the metadata has none.
        """
        digits_of([prompt])


class Digit(_AskedDigit):
    """Probability, in [0, 1], of the prompted digit under a CNN trained on half of the digits.

    Prompts need {"digit": 7} in their metadata, images 8 x 8 pixels. The weights ship with the
    package.
    """

    def __init__(self, device: torch.device, /) -> None:
        """Loads the shipped CNN."""
        self._device = device
        self._classifier = load_shipped(Classifier, "digit_classifier.safetensors", device)

    @classmethod
    def network_bytes(cls, options: Mapping[str, Any]) -> NetworkBytes:
        """The CNN's."""
        return shipped_bytes(Classifier)

    @torch.no_grad()
    def score(self, images: Images, prompts: Sequence[Prompt]) -> PerImage:
        """The probability of each image's digit."""
        digit = send(torch.tensor(digits_of(prompts)), self._device)
        probability = self._classifier(grey(images.to(self._device))).softmax(dim=1)
        scores: Tensor = probability.gather(1, digit.unsqueeze(1)).squeeze(1)
        return scores.to(images.device)

    @torch.no_grad()
    def features(self, images: Images) -> Features:
        """What the CNN's last layer reads."""
        seen = grey(images.to(self._device))
        for layer in list(self._classifier)[:-1]:
            seen = layer(seen)
        return seen.to(images.device)

    def known_answers(self) -> Sequence[KnownAnswer]:
        """A zero to nine of the half that it was not trained on, the eight an unclear one."""
        scores = (0.979, 0.975, 0.988, 0.985, 0.966, 0.948, 0.970, 0.936, 0.496, 0.867)
        return [_first_of_each(halves()[1], torch.tensor(scores), tolerance=0.01)]


class DigitJudge(_AskedDigit):
    """1 where a support vector machine fitted on the other half names the prompted digit, else 0.

    Never train on it. It also records `distance_to_data`: the L2 distance, with pixels in [-1, 1],
    to the nearest image of the half that the judge was fitted on. Prompts need {"digit": 7} in
    their metadata, images 8 x 8 pixels.
    """

    has_networks = False

    def __init__(self, device: torch.device, /) -> None:
        """Fits the judge, in 0.03 s and with the same result each time."""
        from sklearn.svm import SVC

        _, half = halves()
        data = half.images.reshape(len(half.images), -1) * 2.0 - 1.0
        self._data = torch.from_numpy(data)
        self._judge = SVC(C=10, gamma="scale").fit(data, half.digits)

    def score(self, images: Images, prompts: Sequence[Prompt]) -> Scores:
        """1.0 or 0.0 for each image, with its distance to real digits."""
        pixels = grey(images).flatten(start_dim=1).float().cpu()
        named = self._judge.predict(pixels.numpy())
        right = torch.from_numpy(np.equal(named, digits_of(prompts)))
        # The exact form: the usual one by matrix product loses digits where images are close.
        distance = torch.cdist(pixels, self._data, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = distance.min(dim=1).values
        return Scores(
            right.float().to(images.device), {"distance_to_data": nearest.to(images.device)}
        )

    def known_answers(self) -> Sequence[KnownAnswer]:
        """A zero to nine of the half that it was not fitted on, all named right."""
        return [_first_of_each(halves()[0], torch.ones(len(WORDS)), tolerance=0.0)]


def _first_of_each(half: Labelled, scores: Float[Tensor, "10"], *, tolerance: float) -> KnownAnswer:
    """The first image of each digit in a half, with its score."""
    first = [int(np.flatnonzero(half.digits == digit)[0]) for digit in range(len(WORDS))]
    images = torch.from_numpy(half.images[first]).unsqueeze(1).repeat(1, 3, 1, 1)
    prompts = [Prompt(f"the digit {word}", {"digit": i}) for i, word in enumerate(WORDS)]
    return KnownAnswer(images, prompts, scores, tolerance)
