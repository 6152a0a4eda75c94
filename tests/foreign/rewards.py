"""Rewards in an environment of their own, as a plugin that cannot live beside zoo has them."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Optional

import numpy as np
from zoo_reward_worker import KnownAnswer, Prompt, Reward, Scores


class AtLeast:
    """A limit as annotated_types writes it, which is not installed here."""

    def __init__(self, ge):
        self.ge = ge


@dataclass(frozen=True)
class Crop:
    size: Annotated[int, AtLeast(1)] = 8
    where: Literal["middle", "corner"] = "middle"


class Brightness(Reward):
    """The mean brightness of an image."""

    def __init__(
        self,
        device: str,
        /,
        *,
        scale: Annotated[float, AtLeast(0)] = 1.0,
        levels: Optional[list[int]] = None,  # noqa: UP045 - as Python 3.9 writes it
        crop: Crop = Crop(),
        file: Path = Path("none"),
    ) -> None:
        """`scale` multiplies it."""
        assert isinstance(device, str)
        assert isinstance(crop, Crop)
        assert isinstance(file, Path)
        self.scale, self.crop = scale, crop
        print("brightness was built", flush=True)  # noqa: T201

    def score(self, images, prompts):
        assert images.dtype == np.uint8
        value = self.scale * images.reshape(len(images), -1).mean(1) / 255
        length = np.array([len(prompt.text) for prompt in prompts], dtype=np.float32)
        asked = [float(prompt.metadata.get("digit", np.nan)) for prompt in prompts]
        return Scores(value, {"length": length, "digit": np.array(asked)})

    def known_answers(self):
        white = np.full((2, 4, 4, 3), 255, np.uint8)
        return [KnownAnswer(white, [Prompt("a"), Prompt("b")], np.full(2, self.scale), 1e-6)]


class Spread(Reward):
    """How far an image is from its group's mean."""

    groupwise = True

    def score(self, images, prompts):
        values = images.reshape(len(images), -1).mean(1)
        return np.abs(values - values.mean())


class Faulty(Reward):
    """Does what the file says: 'die', 'hang', 'raise', 'nan', 'shape', 'text' or nothing."""

    def __init__(self, *, orders: Path) -> None:
        self.orders = orders

    def score(self, images, prompts):
        order = self.orders.read_text().strip()
        if order.startswith("once "):
            self.orders.write_text("")
            order = order.removeprefix("once ")
        if order == "die":
            print("out of memory, dying", flush=True)  # noqa: T201
            os.kill(os.getpid(), 9)
        if order == "segfault":
            os.kill(os.getpid(), 11)
        if order == "hang":
            while True:
                time.sleep(0.01)
        if order == "raise":
            raise RuntimeError("CUDA out of memory\nand more")
        if order == "shape":
            return np.zeros((len(images), 2))
        if order == "text":
            return "many"
        found = np.arange(len(images), dtype=np.float64)
        return np.full_like(found, np.nan) if order == "nan" else found


class Broken(Reward):
    """Cannot be built."""

    def __init__(self) -> None:
        raise OSError("the weights are not on this disk")

    def score(self, images, prompts):
        raise AssertionError


class Hanging(Reward):
    """Never gets built."""

    def __init__(self) -> None:
        while True:
            time.sleep(0.01)

    def score(self, images, prompts):
        raise AssertionError


class Wrong(Reward):
    """Says something else than it is known to."""

    def score(self, images, prompts):
        return np.zeros(len(images))

    def known_answers(self):
        black = np.zeros((1, 4, 4, 3), np.uint8)
        return [KnownAnswer(black, [Prompt("a")], np.array([0.5]), 0.01)]


class Positional(Reward):
    """Has an option that is not keyword-only."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def score(self, images, prompts):
        raise AssertionError
