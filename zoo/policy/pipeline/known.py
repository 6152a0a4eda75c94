"""What is known of a pipeline before it is asked, by the run that goes on, this process or a cache.

Nothing of it is trusted: it is checked against the pipeline's own loop as what is found anew, and
forgotten where it does not hold. Commands make the same model several times: shapes alone to plan
each stage, then the model itself.
"""

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from zoo.errors import UserError
from zoo.policy.pipeline.contract import Contract
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.written import FORMAT, from_json, to_json
from zoo.storage import files

_OF_RUN: dict[str, Contract] = {}
_FOUND: dict[tuple[type, str], Contract] = {}
_FORGOTTEN: set[str] = set()
"""What the cache is not asked for again: its file may be one that cannot be removed."""


class OutdatedError(Exception):
    """What was known of a pipeline does not hold, and is forgotten: it is to be found anew."""


@contextmanager
def recalling(contracts: Mapping[str, Contract]) -> Iterator[None]:
    """Inside, these are known first of all, by what was asked: of the run that goes on."""
    _OF_RUN.update(contracts)
    try:
        yield
    finally:
        _OF_RUN.clear()


def asked(seam: Seam) -> str:
    """What a pipeline is asked in every run, in a word: by the options of a recipe."""
    types = {name: str(dtype) for name, dtype in seam.dtypes.own.items()}
    said = [type(seam.real).__name__, *seam.keywords.shared(), types]
    return json.dumps(said, sort_keys=True, default=repr)


def made_anew_if_outdated(make: Callable[[], None]) -> None:
    """Makes what works by what is known, and where that does not hold by what is then found."""
    with suppress(OutdatedError):
        make()
        return
    make()


class Known:
    """A contract that was known, or is found."""

    def __init__(self, seam: Seam, find: Callable[[], Contract], *, anew: bool = False) -> None:
        """Looks in the run that goes on, then for the same classes and configurations.

        `anew` looks nowhere: where the check comes too late to find out anything anew.
        """
        self.asked = asked(seam)
        self._key = (type(seam.real), _digest(seam, self.asked))
        self._is_diffusers = self._key[0].__module__.startswith("diffusers.")
        known = None if anew else self._known()
        self._was_known = known is not None
        self.contract = known or find()
        seam.manner = self.contract.manner

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What goes well inside has it known from now on, in this process and those to come.

        Raises:
            OutdatedError: what was known does not hold.
        """
        with self.holding():
            yield
        _FOUND[self._key] = self.contract
        path = self._path()
        if self._was_known or path is None:
            return
        # A cache that cannot be written costs seconds, and is no error.
        with suppress(UserError), files.filling_cache(path.parent):
            files.write(path, to_json(self.contract), indent=None)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Whatever fails inside is no word on the pipeline where the contract was known.

        Raises:
            OutdatedError: it was, and is not any more.
        """
        try:
            yield
        except Exception as error:
            if not self._was_known:
                raise
            self._forget()
            raise OutdatedError(str(error)) from error

    def _forget(self) -> None:
        _OF_RUN.pop(self.asked, None)
        _FOUND.pop(self._key, None)
        _FORGOTTEN.add(self._key[1])

    def _known(self) -> Contract | None:
        return _OF_RUN.get(self.asked) or _FOUND.get(self._key) or self._cached()

    def _path(self) -> Path | None:
        """The cache's file; none of a pipeline whose code is not a library's."""
        if self._is_diffusers:
            with suppress(UserError):
                return files.cache_folder("contracts") / f"{self._key[1]}.json"
        return None

    def _cached(self) -> Contract | None:
        """Nothing where there is no such file, or one that is none."""
        path = self._path()
        if path is None or self._key[1] in _FORGOTTEN:
            return None
        with suppress(OSError, ValueError):
            return from_json(json.loads(path.read_text(encoding="utf-8")))
        return None


def _digest(seam: Seam, said: str) -> str:
    """Of all that a contract depends on: 32 hex digits."""
    import diffusers
    import torch
    import transformers

    cls = type(seam.real)
    versions = [one.__version__ for one in (diffusers, transformers, torch)]
    code = [files.fingerprint(__name__), _source(cls.__module__)]
    parts = [_form(*named) for named in seam.real.components.items()]
    whole = [FORMAT, said, cls.__module__, repr(seam.family), *versions, *code, *parts]
    return hashlib.sha256(json.dumps(whole, default=str).encode()).hexdigest()[:32]


@cache
def _source(module: str) -> str:
    """The code of a module; of one that has no file nothing."""
    with suppress(OSError, TypeError):
        return inspect.getsource(sys.modules[module])
    return ""


def _form(name: str, part: Any) -> list[object]:
    """What a part does but for its weights."""
    if hasattr(part, "convert_tokens_to_ids"):
        return [name, type(part).__name__, len(part), part.model_max_length, part.padding_side]
    config: Any = getattr(part, "config", None) or part
    said = config.to_dict() if hasattr(config, "to_dict") else config
    plain = dict(said) if isinstance(said, Mapping) else {}
    plain.pop("_name_or_path", None)
    device, dtype = (str(getattr(part, each, "")) for each in ("device", "dtype"))
    configured = json.dumps(plain, sort_keys=True, default=str)
    of_shapes, code = device == "meta", _source(type(part).__module__)
    return [name, str(type(part)), dtype, of_shapes, configured, code]
