"""What a pipeline has in the place of its scheduler and its networks, which pass its calls on.

Each is of the class of what it stands for and has its attributes, so that a pipeline does not see
a difference; only the calls that a question is about go elsewhere.
"""

import copy
import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from zoo.devices import send


class ReachedError(BaseException):
    """A pipeline came to what was asked; unwinds it, past any handler of its own."""

    def __init__(self, answer: Any) -> None:
        """With the answer."""
        super().__init__()
        self.answer = answer


class Step(NamedTuple):
    """A step of a pipeline's own scheduler."""

    time: float
    sample: Tensor
    output: Tensor
    result: Tensor
    seen: Tensor
    """The sample as the network is shown it."""


@runtime_checkable
class Questions(Protocol):
    """Who answers for the scheduler."""

    def set_grid(self, scheduler: Any, steps: int | None, given: dict[str, Any]) -> None:
        """The pipeline sets its grid, by a number of steps or by sigmas and their shift."""

    def stepped(self, output: Tensor, sample: Tensor) -> Tensor:
        """The pipeline came to its solver with what it made of the network's outputs."""


def scheduler_like(real: Any, asked: Callable[[], Questions]) -> Any:
    """A copy of a scheduler whose steps are questions to whoever is `asked` just then.

    Pipelines ask for the very class, so that it is no other: closures take its methods' places,
    which a copy of it has, too.
    """

    def set_timesteps(
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Any = None,
        sigmas: Any = None,
        mu: Any = None,
        **more: Any,
    ) -> None:
        given = {"timesteps": timesteps, "sigmas": sigmas, "mu": mu, **more}
        given = {key: value for key, value in given.items() if value is not None}
        asked().set_grid(real, num_inference_steps, given)

    def step(
        model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor]:
        return (asked().stepped(model_output, sample),)

    def unscaled(sample: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return sample

    # Most pipelines ask for it in every run, and LTX-2 for a deep copy of its scheduler.
    set_timesteps.__signature__ = inspect.signature(set_timesteps)  # type: ignore[attr-defined]
    made = copy.deepcopy(real)
    made.__dict__ |= {
        "__deepcopy__": lambda memo: copy.copy(made),
        "set_timesteps": set_timesteps,
        "step": step,
        "set_begin_index": lambda begin_index=0: None,
        "scale_model_input": unscaled,
    }
    return made


def tell_time(scheduler: Any, at: float | None, scale: float, device: torch.device) -> None:
    """Gives a stand-in one timestep, or none, on the device."""
    sigmas = torch.tensor([0.0] if at is None else [at, 0.0], device="cpu")
    scheduler.__dict__["timesteps"] = send(sigmas[:-1] * scale, device)
    scheduler.__dict__["sigmas"] = send(sigmas, device)


def recording(real: Any, steps: list[Step]) -> Any:
    """A copy of a scheduler that works as it does, and notes its steps; so does a copy of it."""
    cls: Any = type(real)

    def step(
        self: Any, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        before, output = sample.clone(), model_output.clone()
        scaled = getattr(self, "scale_model_input", None)
        seen = before if scaled is None else scaled(before, timestep)
        result = cls.step(self, model_output, timestep, sample, *args, **kwargs)
        after = result[0] if isinstance(result, tuple) else result.prev_sample
        steps.append(Step(_number(timestep), before, output, after.clone(), seen))
        return result

    made = copy.deepcopy(real)
    # Bound, so that a copy's is of the copy.
    made.__dict__["step"] = MethodType(step, made)
    return made


def _number(time: Any) -> float:
    """A step's time, also where each token has one: that of most."""
    return float(torch.as_tensor(time).float().max())


def network_like(
    network: nn.Module,
    called: Callable[[tuple[Any, ...], dict[str, Any]], Any],
    told_type: Callable[[], torch.dtype],
) -> Any:
    """A network of the real one's class, with its weights, whose forward is a call.

    It says to be of the type `told_type`.
    """
    real: Any = type(network)

    class Called(real):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return called(args, kwargs)

        dtype = property(lambda _: told_type())

    Called.__name__, Called.__module__ = real.__name__, real.__module__
    made = object.__new__(Called)
    made.__dict__ = network.__dict__
    return made


class Experts(nn.ModuleDict):
    """Several networks of a pipeline as one; a forward says which."""

    def forward(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Of the network of that name."""
        network: Any = self[name]
        return network(*args, **kwargs)
