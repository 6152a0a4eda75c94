"""Counts the bytes of tensors that are alive while code runs on the meta device.

A meta tensor has a shape and no numbers, so a model of any size runs in little memory and time.
What an operation needs only while it runs (a convolution's workspace) is not seen.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")

_MAKE_TENSORS = ("diffusers.hooks", "diffusers.quantizers")
"""Modules that every model of diffusers loads."""

T = TypeVar("T")


class LiveBytes:
    """Inside, `now` is the bytes of all meta tensors made inside and alive, `peak` the most."""

    def __init__(self) -> None:
        """Counts nothing yet."""
        self.now = 0
        self.peak = 0
        self._alive: set[int] = set()
        self._stack = ExitStack()

    def __enter__(self) -> "LiveBytes":
        """Starts to count."""
        # They make tensors as they load, which are none of what is counted, and not to be on meta.
        for name in _MAKE_TENSORS:
            import_module(name)
        self._stack.enter_context(_fused_kernels())
        self._stack.enter_context(_Seen(self._see))
        return self

    def __exit__(self, *error: object) -> None:
        """Stops seeing what is made; what was made still counts down as it goes."""
        self._stack.close()

    def restart(self) -> None:
        """Forgets the peak so far."""
        self.peak = self.now

    def highest(self, call: Callable[[], T]) -> tuple[T, int]:
        """What a call returns, and the most that was alive in it above what was before."""
        before, peak = self.now, self.peak
        self.restart()
        out = call()
        most = self.peak - before
        self.peak = max(peak, self.peak)
        return out, most

    def reach(self, more: int) -> None:
        """Counts as if so many bytes more had been alive for a moment."""
        self.peak = max(self.peak, self.now + more)

    def _see(self, tensor: Tensor) -> None:
        if tensor.device != META:
            return
        # Views share their storage, which is counted once.
        storage = tensor.untyped_storage()
        if storage._cdata in self._alive:
            return
        self._alive.add(storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes()).atexit = False

    def _forget(self, storage: int, size: int) -> None:
        self._alive.discard(storage)
        self.now -= size


def num_bytes(tensors: Iterable[Tensor]) -> int:
    """The bytes of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class _Seen(TorchDispatchMode):
    """Shows every tensor that an operation returns."""

    def __init__(self, see: Callable[[Tensor], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._see_one = see

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._see_one(leaf)
        return out


@contextmanager
def _fused_kernels() -> Iterator[None]:
    """What is one kernel on CUDA is one operation on meta, where torch would spell it out.

    Put in torch's place, not a mode of torch's: a backward pass, which may compute forwards again
    (gradient checkpointing), runs outside of modes.
    """
    with (
        _on_meta("scaled_dot_product_attention", "query", _attention),
        _on_meta("rms_norm", "input", _rms_norm),
    ):
        yield


@contextmanager
def _on_meta(name: str, first: str, fused: Callable[..., Tensor]) -> Iterator[None]:
    """A function of torch is `fused` where its `first` argument is on meta."""
    spelt_out = getattr(F, name)

    def call(*args: Any, **kwargs: Any) -> Tensor:
        given = args[0] if args else kwargs[first]
        out: Tensor = (fused if given.device == META else spelt_out)(*args, **kwargs)
        return out

    setattr(F, name, call)
    try:
        yield
    finally:
        setattr(F, name, spelt_out)


def _rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Moves and keeps what a layer norm does, which is one operation here; and wants rows."""
    return F.layer_norm(input.contiguous(), normalized_shape, weight, None, eps or 0.0)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **others: Any,
) -> Tensor:
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out: Tensor = fused(query, key, value, 0.0, is_causal, attn_mask=attn_mask, scale=scale)[0]
    return out
