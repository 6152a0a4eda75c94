"""Imports torchvision beside a torch that its compiled operators were not built for.

The wheels of PyPI are built for the torch of PyPI, which is CUDA's. Beside a CPU build its library
cannot be loaded, which torchvision allows for, and then its import still fails, because it
describes operators (non-maximum suppression) that the library would have declared. ImageReward uses
its transforms alone, which are Python and PIL.
"""

import sys

_NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_DESCRIBED = ("nms", "qnms")
"""What torchvision 0.28 describes without looking whether its library was loaded."""


def import_torchvision() -> None:
    """Imports it; where its library cannot be loaded, declares its operators first.

    Declared is not defined: they raise when called.

    Raises:
        RuntimeError: it cannot be imported for another reason.
    """
    from torch import library

    try:
        import torchvision
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in _DESCRIBED:
            library.define(f"torchvision::{operator}", _NMS)
        import torchvision  # noqa: F401
