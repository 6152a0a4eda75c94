"""A modular reinforcement-learning zoo for diffusion and flow-matching models."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.api import Run, open_run, train

__version__ = "0.2.0"

API_VERSION = 1
"""The version of the interfaces that plugins are written against."""

__all__ = ["API_VERSION", "Run", "__version__", "open_run", "train"]


def __getattr__(name: str) -> Any:
    """`train`, `open_run` and `Run`, imported when they are first asked for."""
    if name in ("Run", "open_run", "train"):
        from zoo import api

        return getattr(api, name)
    raise AttributeError(f"module 'zoo' has no attribute '{name}'")
