"""Finding out whether and how a pipeline guides, and what it takes for no guidance."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.policy.pipeline.contract import Manner, Pass, UnsupportedError
from zoo.policy.pipeline.made_up import noise
from zoo.policy.pipeline.probes import GUIDED, HIGH, SHORT, Probes, num_outputs
from zoo.policy.pipeline.questions import Question
from zoo.policy.pipeline.trees import joined, on_tensors


def find_guidance(probes: Probes) -> None:
    """Sets whether there is any, and how none is asked for.

    It doubles what the networks give, in one call or in two.
    """
    if probes.seam.manner.guided_by is None:
        return
    size = {g: num_outputs(probes.step([SHORT], HIGH[0], guidance=g)[0]) for g in (1.0, GUIDED)}
    try:
        size[0.0] = num_outputs(probes.step([SHORT], HIGH[0], guidance=0.0)[0])
    except ValueError:  # Some refuse less than 1.
        size[0.0] = size[1.0]
    off = 0.0 if size[0.0] < size[1.0] else 1.0
    probes.change_manner(off=off)
    if size[GUIDED] == size[off] and not _counts_of_calls(probes):
        probes.seam.manner = Manner(None)


def _counts_of_calls(probes: Probes) -> bool:
    """Whether the scale changes a step whose networks give another thing at every call."""

    def stepped(guidance: float) -> Tensor:
        count = 0

        def through(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            nonlocal count
            count += 1
            return probes.constant(name, args, kwargs, seed=count)

        question = Question(
            "step", [SHORT], at=HIGH[0], guidance=guidance, through=through,
            encoded=probes.encode([SHORT], guidance),
        )  # fmt: skip
        output: Tensor = probes.seam.ask(question)[0][0]
        return output

    return not torch.equal(stepped(1.0), stepped(GUIDED))


def find_offset(
    probes: Probes,
    x: Sequence[Tensor],
    passes: Mapping[tuple[str, bool], Sequence[Pass]],
    firsts: Mapping[str, Sequence[float]],
) -> float:
    """What is added to a usual guidance scale, of which 1 is none: by outputs made up.

    Raises:
        UnsupportedError: what guidance does is not known.
    """
    name, times = next(iter(firsts.items()))
    calls = probes.step([SHORT], times[0], x)[0]
    # A pipeline that always guides has a call for each branch also where there is no guidance.
    told = [on_tensors(made, lambda a: noise(a.shape).to(a)) for _, _, made in calls]

    def stepped(guidance: float | None) -> Tensor:
        guided = iter(passes[name, True])
        outputs = iter([*told, *[told[0]] * len(passes[name, True])])

        def through(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            output = next(outputs)
            if guidance is None:
                return output
            one = next(guided)
            near = on_tensors(output, lambda a: a + 1e-3 * noise(a.shape, seed=1).to(a))
            return joined([output if is_told else near for is_told in one.told], one.out_rows)

        question = Question(
            "step", [SHORT], at=times[0], guidance=guidance, latents=x, through=through,
            encoded=probes.encode([SHORT], guidance),
        )  # fmt: skip
        output: Tensor = probes.seam.ask(question)[0][0]
        return output.double()

    none = stepped(None)
    at_two, at_three = (float((stepped(g) - none).norm()) for g in (2.0, 3.0))
    ratio = at_two / at_three if at_three else 0.0
    for offset, expected in ((0.0, 1 / 2), (-1.0, 2 / 3)):
        if abs(ratio - expected) < 0.02:
            return offset
    raise UnsupportedError(
        "its guidance is neither pos + (g - 1) (pos - neg) nor pos + g (pos - neg): "
        f"at 2 it changes the velocity {ratio:.3f} times as much as at 3"
    )
