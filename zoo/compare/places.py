"""Where runs that go on at once compute: each has devices of its own, where there are any."""

import os
from collections.abc import Sequence

import torch

from zoo import devices
from zoo.errors import UserError

_SHOWN_BY = {
    "cuda": ("CUDA_VISIBLE_DEVICES",),
    "hip": ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
    "xpu": ("ZE_AFFINITY_MASK",),
    "npu": ("ASCEND_RT_VISIBLE_DEVICES",),
}
"""The variables that tell a process which devices it has, by kind; the first that is set counts."""


def places(jobs: int, needed: int) -> Sequence[dict[str, str]]:
    """Of each of so many runs at once the environment that shows it its accelerators.

    All have as many, at least the number that is `needed`. On a CPU there is nothing to show, and a
    single run has all that this process has.

    Raises:
        UserError: there are not as many devices, or no way to share them out is known.
    """
    kind = devices.accelerator()
    if jobs == 1 or kind is None or needed == 0:
        return [{} for _ in range(jobs)]
    num = devices.num_accelerators()
    each = num // jobs
    if each < needed:
        raise UserError(
            f"--jobs {jobs}: a run of this suite needs {needed} of the {num} GPUs; write at most "
            f"--jobs {max(1, num // needed)}"
        )
    names = _SHOWN_BY.get("hip" if torch.version.hip else kind.type)
    if names is None:
        raise UserError(
            f"--jobs {jobs}: which variable shows a process one of several {kind.type} devices is "
            f"not known; write --jobs 1 (known: {', '.join(_SHOWN_BY)})"
        )
    name = next((name for name in names if os.environ.get(name)), names[0])
    shown = os.environ.get(name)
    ids = shown.split(",") if shown else [str(index) for index in range(num)]
    if len(ids) < num:
        raise UserError(
            f"--jobs {jobs}: {name} is {shown}, which names {len(ids)} of the {num} GPUs that "
            "torch sees, so they cannot be shared out; name each by itself, or write --jobs 1"
        )
    return [{name: ",".join(ids[i * each : (i + 1) * each])} for i in range(jobs)]
