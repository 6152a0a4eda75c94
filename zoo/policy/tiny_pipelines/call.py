"""What a tiny pipeline is called with."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo.policy.tiny_pipelines.shrink import SIDE

_TAKES_IMAGE = re.compile(
    "Edit|Kontext|ImageToVideo|Image2Video|Img2Img|I2I|I2V|Control|Fill|Inpaint|ImageVariation"
    "|Pix2Pix|VideoToVideo|StableVideoDiffusion|Layered|Framepack"
)
"""In the name of a pipeline's class that makes nothing without an image."""
_IMAGES = ("image", "mask_image", "control_image")
_VIDEOS = ("video", "control_video")

_SHORT: Mapping[str, Any] = {
    "num_inference_steps": 2,
    "height": SIDE,
    "width": SIDE,
    "max_sequence_length": 128,
    # Of two steps a picture to start from takes part in one.
    "strength": 0.9,
    # What would make pictures of 1024 pixels whatever is asked.
    "max_area": SIDE * SIDE,
    "_auto_resize": False,
    "use_resolution_binning": False,
    # What would generate a text first, make a sound, or need packages for videos.
    "enable_prompt_rewrite": False,
    "image_crf": 0,
    "sample_audio": False,
}
"""What keeps a call short, by keyword."""


@dataclass(frozen=True)
class TinyCall:
    """What a pipeline's `__call__` needs beside the prompt, to be done in a moment.

    `options` are numbers and texts by keyword; `images` the keywords that take an image, `videos`
    those that take a list of them.
    """

    options: Mapping[str, Any]
    images: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()

    def arguments(self) -> dict[str, Any]:
        """The options, and a picture or several for every keyword that takes them."""
        images = {name: picture() for name in self.images}
        frames = int(self.options.get("num_frames", 5))
        videos = {name: [picture() for _ in range(frames)] for name in self.videos}
        return {**self.options, **images, **videos}


def picture(side: int = SIDE) -> Any:
    """A picture with a colour that changes from corner to corner."""
    from PIL import Image

    image = Image.new("RGB", (side, side))
    scale = 255 // max(side - 1, 1)
    image.putdata([(x * scale, y * scale, 128) for y in range(side) for x in range(side)])
    return image


def tiny_call(pipeline: Any) -> TinyCall:
    """Of a tiny pipeline."""
    parameters = inspect.signature(type(pipeline).__call__).parameters
    frames = 1 + _frames_a_latent(pipeline)
    options = {**_SHORT, "num_frames": frames, "frames": frames}
    fixed = {"max_sequence_length", "max_text_seq_length"} & set(_config(pipeline))
    if fixed or hasattr(pipeline, "prompt_template"):
        del options["max_sequence_length"]
    if type(pipeline).__name__.startswith("EasyAnimate"):
        # It fails where there is none.
        options["negative_prompt"] = ""
    if "guidance_schedule" in parameters:
        # Of one and of a schedule exactly one is said.
        options |= {"guidance_schedule": None, "guidance_scale": 7.0}
    takes = bool(_TAKES_IMAGE.search(type(pipeline).__name__))
    return TinyCall(
        {name: value for name, value in options.items() if name in parameters},
        tuple(name for name in _IMAGES if takes and name in parameters),
        tuple(name for name in _VIDEOS if takes and name in parameters),
    )


def _config(pipeline: Any) -> Mapping[str, Any]:
    """Of the network that denoises."""
    network = getattr(pipeline, "transformer", None)
    return {} if network is None else dict(network.config)


_TEMPORAL = (
    "vae_scale_factor_temporal",
    "vae_temporal_compression_ratio",
    "temporal_compression_ratio",
    "scale_factor_temporal",
)
"""How pipelines and autoencoders call the frames that become one."""


def _frames_a_latent(pipeline: Any) -> int:
    """As the pipeline or its autoencoder says: 4 where none does."""
    vae = getattr(pipeline, "vae", None)
    if type(vae).__name__ == "AutoencoderKLCogVideoX":
        # An even number of latents makes as many frames four times, without a first one alone.
        return 8
    if type(pipeline).__name__ == "Kandinsky5I2VPipeline":
        # The first four latents are made like those that follow.
        return 20
    said = {**dict(getattr(vae, "config", {})), **vars(vae or pipeline), **vars(pipeline)}
    found = (said[name] for name in _TEMPORAL if isinstance(said.get(name), int))
    return next((ratio for ratio in found if ratio > 1), 4)
