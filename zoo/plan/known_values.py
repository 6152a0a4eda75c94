"""Keeps the numbers of small tensors on the meta device, for code that reads some of them.

A meta tensor has a shape and no numbers. Some networks and pipelines read numbers all the same:
where each token is, how long a prompt is, the time. What those are made of is known where it was
made, so beside each storage of a small meta tensor whose numbers are known there is one on the
host, which the same operations run on.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from zoo.plan.live_bytes import META

MOST = 1 << 20
"""Elements of a tensor whose numbers are kept: places of the tokens of 32 pictures of 1024 px."""

_HOST = torch.device("cpu")

_Operation = Callable[..., Any]


@contextmanager
def known_values() -> Iterator[None]:
    """Inside, numbers of small meta tensors can be read, if they follow from what was given."""
    with _Followed() as followed, _Spelt(followed):
        yield


class _Spelt(TorchFunctionMode):
    """What torch does with numbers before it comes to operations: tensors of them, and lists."""

    def __init__(self, followed: "_Followed") -> None:
        super().__init__()
        self._followed = followed

    def __torch_function__(
        self,
        func: _Operation,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and _is_meta(kwargs.get("device")):
            return func(*args, **{**kwargs, "device": _HOST}).to(META)
        if func is Tensor.tolist and args[0].device == META:
            return func(self._followed.numbers(args[0]))
        return func(*args, **kwargs)


class _Followed(TorchDispatchMode):
    """Runs beside the meta device, on the host, what its numbers follow from."""

    def __init__(self) -> None:
        """Knows none yet."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._hosts: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(
        self,
        func: _Operation,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_meta = [tensor for tensor in given if tensor.device == META]
        if not on_meta and not _is_meta(kwargs.get("device")):
            return func(*args, **kwargs)
        if not self._can_follow(func, given, on_meta):
            self._forget_written(func, args)
            return func(*args, **kwargs)
        try:
            out = func(*args, **kwargs)
        except (NotImplementedError, RuntimeError):
            # How much there is of it, or what it is, depends on the numbers.
            return tree_map(self._to_meta, self._on_host(func, args, kwargs))
        self._follow(func, args, kwargs, out)
        return out

    def _can_follow(self, func: Any, given: list[Tensor], on_meta: list[Tensor]) -> bool:
        """Whether the numbers of what an operation reads are known, and few."""
        return (
            torch.Tag.nondeterministic_seeded not in func.tags
            and "empty" not in func._schema.name  # whatever was in that memory
            and all(tensor.numel() <= MOST for tensor in given)
            and all(tensor.untyped_storage()._cdata in self._hosts for tensor in on_meta)
        )

    def _follow(
        self, func: _Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any
    ) -> None:
        """Runs on the host what ran on shapes, where that made numbers or wrote some."""
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        new = [one.untyped_storage()._cdata not in self._hosts for one in made]
        writes = func._schema.is_mutable  # type: ignore[attr-defined]
        if not (writes or any(new)) or any(one.numel() > MOST for one in made):
            return  # a view of what is known, or too much
        try:
            found = tree_leaves(self._on_host(func, args, kwargs))
        except (IndexError, RuntimeError):
            # Shapes may be of rows that there are none of: their numbers are no more known.
            self._forget_written(func, args)
            return
        for tensor, numbers, is_new in zip(made, found, new, strict=True):
            if is_new and tensor.device == META:
                self._know(tensor, numbers)

    def _on_host(self, func: _Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        there = {"device": _HOST} if _is_meta(kwargs.get("device")) else {}
        with _disable_current_modes():
            return func(*tree_map(self._host, args), **{**tree_map(self._host, kwargs), **there})

    def _host(self, value: Any) -> Any:
        """A meta tensor's numbers; anything else as it is."""
        return self.numbers(value) if isinstance(value, Tensor) and value.device == META else value

    def numbers(self, value: Tensor) -> Tensor:
        """A meta tensor's numbers.

        Raises:
            RuntimeError: they are not known.
        """
        storage = self._hosts.get(value.untyped_storage()._cdata)
        if storage is None:
            raise RuntimeError("numbers of a tensor are read, of which shapes alone are known")
        return torch.empty(0, dtype=value.dtype).set_(
            storage, value.storage_offset(), value.shape, value.stride()
        )

    def _to_meta(self, numbers: Any) -> Any:
        if not isinstance(numbers, Tensor):
            return numbers
        shape = torch.empty_strided(
            numbers.shape, numbers.stride(), dtype=numbers.dtype, device=META
        )
        self._know(shape, numbers)
        return shape

    def _know(self, tensor: Tensor, numbers: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._hosts[storage._cdata] = torch.UntypedStorage(storage.nbytes())  # type: ignore[no-untyped-call]
        weakref.finalize(storage, self._hosts.pop, storage._cdata, None).atexit = False
        self._host(tensor).copy_(numbers)

    def _forget_written(self, func: Any, args: tuple[Any, ...]) -> None:
        """Of what an operation writes into, of which not all is known, nothing is."""
        for value, argument in zip(args, func._schema.arguments, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                for tensor in tree_leaves(value):
                    if isinstance(tensor, Tensor):
                        self._hosts.pop(tensor.untyped_storage()._cdata, None)


def _is_meta(device: Any) -> bool:
    return device is not None and torch.device(device) == META
