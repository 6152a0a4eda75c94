"""A reward that is a function in a file of the user's own: nothing to install or to register."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import module_from_spec, spec_from_file_location
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.errors import one_line, text_of
from zoo.prompt import Prompt
from zoo.reward.base import ImagesOrVideos, Reward
from zoo.storage.place import Place

_FORM = "write path: my_file.py:my_function"


class PythonReward(Reward):
    """A function in a Python file: f(images, prompts) returns a number for each image.

    The numbers are in a tensor, a list, a tuple or an array of NumPy. `images` is
    [batch, 3, height, width] in [0, 1], or [batch, frames, 3, height, width] of videos; `prompts`
    is a sequence of zoo.prompt.Prompt; higher is better and NaN says that an image could not be
    scored. The file may import what is beside it in its folder.
    """

    chosen_by = ("path",)
    takes = "both"

    def __init__(self, *, path: Place) -> None:
        """`path` is 'my_file.py:my_function', relative to the working directory.

        Raises:
            ValueError: there is no such file, it cannot be imported, or has no such function.
        """
        self._path = path
        self._function = _function(path)

    @classmethod
    def check_start(cls, options: Mapping[str, Any]) -> None:
        """Imports the file and looks for the function.

        Raises:
            ValueError: as the constructor.
        """
        _function(options["path"])

    def score(self, images: ImagesOrVideos, prompts: Sequence[Prompt]) -> Any:
        """What the function returns; the judge looks at whether it is one number an image."""
        return _tensor(self._function(images, prompts))


def _tensor(returned: object) -> object:
    """Numbers in a list, a tuple or an array of NumPy as a tensor; anything else as it is."""
    if isinstance(returned, (list, tuple)) and all(map(_is_number, returned)):
        return torch.tensor([float(each) for each in returned], dtype=torch.float64)
    if isinstance(returned, np.ndarray) and returned.dtype.kind in "fiub":
        return torch.from_numpy(returned.astype(np.float64))
    return returned


def _is_number(value: object) -> bool:
    return isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1)


def _function(path: str) -> Callable[[Tensor, Sequence[Prompt]], object]:
    file, _, name = path.rpartition(":")
    if not file or not name:
        raise ValueError(f"the reward path {path!r} does not name a file and a function; {_FORM}")
    # Not Path.is_file, which raises for a name that is too long.
    if not os.path.isfile(file):
        raise ValueError(
            f"the reward file {file!r} does not exist; "
            f"the working directory is {Path.cwd()}; {_FORM}"
        )
    module = _module(file)
    if name not in module:
        public = sorted(
            key for key, value in module.items() if callable(value) and not key.startswith("_")
        )
        raise ValueError(
            f"the reward file {file!r} has no function {name!r}; "
            f"it has: {', '.join(public) or 'none'}; {_FORM}"
        )
    function = module[name]
    if not callable(function):
        raise ValueError(
            f"{name!r} in the reward file {file!r} is of type {type(function).__name__}; "
            "make it a function"
        )
    return function  # type: ignore[no-any-return]


def _module(file: str) -> dict[str, Any]:
    """What a file defines, imported as a module."""
    # Without dots: what is before the last one would be the package of relative imports.
    name = f"reward file {file}".replace(".", "\N{ONE DOT LEADER}")
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"the reward file {file!r} is not Python source; name a .py file")
    module = module_from_spec(spec)
    # Dataclasses and pickling look their module up there.
    sys.modules[name] = module
    try:
        with _importable(Path(file).resolve().parent):
            spec.loader.exec_module(module)
    # It may also end the process (sys.exit), as a script does.
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        relative = isinstance(error, ImportError) and "relative import" in text_of(error)
        fix = "write import x for from . import x" if relative else f"python {file} shows where"
        raise ValueError(
            f"the reward file {file!r} cannot be imported: {one_line(error)}; {fix}"
        ) from error
    return vars(module)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """What is in a folder can be imported, as where Python runs a file of it."""
    _forget_others(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        # The file may have removed it itself.
        with suppress(ValueError):
            sys.path.remove(str(folder))


_FOLDERS: set[Path] = set()
"""Of the reward files so far."""


def _forget_others(folder: Path) -> None:
    """Another folder's `helper` must not be taken for this one's: whoever has it keeps it."""
    others = _FOLDERS - {folder}
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        here = (folder / f"{top}.py").is_file() or (folder / top).is_dir()
        if here and others.intersection(Path(getattr(module, "__file__", None) or "").parents):
            del sys.modules[name]
    _FOLDERS.add(folder)
