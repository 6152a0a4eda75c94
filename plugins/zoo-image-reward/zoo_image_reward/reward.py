"""ImageReward through the package image-reward 1.5: Xu et al. 2023, arXiv 2304.05977."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from zoo_reward_worker import Prompt, Reward

from zoo_image_reward.operators import import_torchvision

_MODEL = "ImageReward-v1.0"


class ImageRewardPackage(Reward):
    """ImageReward v1.0 by the authors' own package, image-reward 1.5.

    What the package's `score` says of each image and its prompt, one image at a time. zoo's own
    `image_reward` gives the same numbers in batches and without this environment; this one is to
    check it against, and for checkpoints that it does not know.
    """

    def __init__(
        self,
        device: str,
        /,
        *,
        model: str = _MODEL,
        med_config: Path | None = None,
        download_root: Path | None = None,
    ) -> None:
        """`model` is ImageReward-v1.0, from the hub (1.8 GB), or a file of its weights.

        `med_config` is the file of the text encoder's sizes, none: the published one from the hub;
        `download_root` is where both are kept, none: ~/.cache/ImageReward. The vocabulary of
        bert-base-uncased comes from the hub too, or from HF_HOME.

        Raises:
            ValueError: there is no such file.
        """
        for name, file in (("model", model), ("med_config", med_config)):
            if file not in (_MODEL, None) and not os.path.isfile(file):
                raise ValueError(
                    f"{name} {str(file)!r} is no file (the working directory is {os.getcwd()}); "
                    f"name one, or leave it out for {_MODEL} from the hub"
                )
        import torch

        import_torchvision()
        with warnings.catch_warnings():
            # What it imports warns of its age: that is why it has an environment of its own.
            warnings.simplefilter("ignore")
            import ImageReward

        self._no_grad = torch.no_grad
        self._model: Any = ImageReward.load(
            model,
            device=device,
            download_root=None if download_root is None else str(download_root),
            med_config=None if med_config is None else str(med_config),
        )

    def score(self, images: np.ndarray, prompts: Sequence[Prompt]) -> np.ndarray:
        """The package's score of each image; they are [batch, height, width, 3]."""
        from PIL import Image

        if images.ndim != 4:
            raise ValueError(f"images are [batch, height, width, 3], not {list(images.shape)}")
        with self._no_grad():
            scores = [
                self._model.score(prompt.text, Image.fromarray(image))
                for image, prompt in zip(images, prompts, strict=True)
            ]
        return np.array(scores, dtype=np.float32)
