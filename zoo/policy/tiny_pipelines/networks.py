"""Networks and schedulers of diffusers: the default configuration of their class, shrunk."""

import enum
import inspect
from collections.abc import Mapping
from typing import Any

from zoo.policy.tiny_pipelines.autoencoder_table import AUTOENCODERS
from zoo.policy.tiny_pipelines.denoiser_table import DENOISERS
from zoo.policy.tiny_pipelines.known import Known, NoTinyError
from zoo.policy.tiny_pipelines.shrink import defaults, shrink
from zoo.policy.tiny_pipelines.table import LATENTS, SCHEDULERS

_STABLE_DIFFUSION = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
"""As in the published configurations."""


def network(cls: Any, known: Known, own: Mapping[str, Any]) -> Any:
    """A random network, as the rules and the table say, with `own` options before theirs."""
    said = {**DENOISERS, **AUTOENCODERS}.get(cls.__name__)
    options = said(known) if said is not None else {}
    return cls(**{**shrink(defaults(cls)), **options, **own})


def latent_channels(pipeline: Any, autoencoder: Any, denoiser: Any) -> int:
    """The autoencoder's own, or those that the denoiser expects.

    Raises:
        NoTinyError: neither says.
    """
    if denoiser.__name__ in LATENTS:
        return LATENTS[denoiser.__name__]
    if autoencoder is not None and autoencoder.__name__ != "AutoencoderKL":
        own = defaults(autoencoder)
        return int(next(own[name] for name in ("latent_channels", "z_dim") if name in own))
    expected = defaults(denoiser).get("in_channels")
    if expected is None:
        raise NoTinyError(f"nothing says which latents {denoiser.__name__} has")
    return int(expected) // (4 if hasattr(pipeline, "_pack_latents") else 1)


def scheduler(cls: Any, pipeline: Any, denoiser: Any, own: Mapping[str, Any] | None = None) -> Any:
    """A scheduler of that class, with its `own` options; of any of Karras's kind, DDIM's."""
    import diffusers

    if issubclass(cls, enum.Enum):
        return diffusers.DDIMScheduler(**_STABLE_DIFFUSION)
    if cls is diffusers.SchedulerMixin:
        cls = diffusers.FlowMatchEulerDiscreteScheduler
    said = own or SCHEDULERS.get(pipeline.__name__) or SCHEDULERS.get(denoiser.__name__)
    if said is None and cls is diffusers.FlowMatchEulerDiscreteScheduler:
        # A pipeline says the shift of each image's size, or none does.
        dynamic = "mu=mu" in inspect.getsource(pipeline.__call__)
        said = {"use_dynamic_shifting": True} if dynamic else {"shift": 3.0}
    return cls(**said) if said is not None and set(said) <= set(defaults(cls)) else cls()


def louder(model: Any) -> Any:
    """As drawn, a last layer or what blocks add is small or zero: no prompt makes a difference."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            # Experts' are one parameter, which diffusers leaves as the memory was.
            if parameter.ndim == 3 or bool((parameter == 0).all()):
                parameter.data.normal_(std=parameter[0].numel() ** -0.5)
            parameter.data.mul_(2)
    return model
