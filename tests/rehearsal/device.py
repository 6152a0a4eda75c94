"""A pretend accelerator: tensors on "sim:0" behave as CUDA's do, and compute on the CPU.

`install` makes it the accelerator of this process, once and for all: torch lets its name be given
once. From then on `torch.accelerator` finds it. A `Sim` says that it is there, and has its values
in a tensor of the CPU inside. Every operation on one comes to `run`, in any thread, which

* raises where CUDA would: tensors of both devices, but for scalars and indices;
* computes on the CPU, so that numbers are those of a run there, bit for bit;
* notes in `traffic` what makes the host wait;
* raises where two `streams` use one memory in no order.

Not pretended: how much memory there is, several devices, the rounding of other kernels, and which
types these lack.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tag, library
from torch.utils import backend_registration

from tests.rehearsal import streams
from tests.rehearsal.traffic import traffic

NAME = "sim"
CPU = torch.device("cpu")
aten = torch.ops.aten


class _Module(backend_registration._DummyBackendModule):
    """`torch.sim`: what torch and zoo ask of an accelerator."""

    Event = streams.Event
    Stream = streams.Stream

    def stream(self, stream: streams.Stream) -> Any:
        return streams.on(stream)

    def current_stream(self, device: Any = None) -> streams.Stream:
        return streams.current()

    def default_stream(self, device: Any = None) -> streams.Stream:
        return streams.DEFAULT

    @contextmanager
    def device(self, index: Any) -> Iterator[None]:
        yield

    def set_device(self, index: Any) -> None:
        pass

    def synchronize(self, device: Any = None) -> None:
        traffic.note("synchronize")

    def max_memory_allocated(self, device: Any = None) -> int:
        return 0

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_device_name(self, device: Any = None) -> str:
        return "a pretend accelerator"

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.random.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        torch.random.set_rng_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class Sim(torch.Tensor):
    """A tensor on the pretend device; `raw` has its values."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> "Sim":
        made = torch.Tensor._make_wrapper_subclass(
            cls, raw.size(), strides=raw.stride(), storage_offset=raw.storage_offset(),
            dtype=raw.dtype, device=torch.device(NAME, 0),
        )  # fmt: skip
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})

    @property
    def data(self) -> torch.Tensor:
        return torch.Tensor.data.__get__(self)

    @data.setter
    def data(self, value: "Sim") -> None:
        torch.Tensor.data.__set__(self, value)
        self.raw = value.raw

    def record_stream(self, s: Any) -> None:
        streams.record(self.raw, s)

    # Torch refuses these to subclasses; here is what it does on CUDA.

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert a tensor of a device to numpy; use Tensor.cpu() first")

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Sim({self.raw})"


class _Arguments:
    """What an operation was given: the tensors of both devices, and what the CPU is given."""

    def __init__(self, args: Any, kwargs: Any) -> None:
        self.ours: dict[int, Sim] = {}
        """By the identity of their values."""
        self.hosts: list[torch.Tensor] = []
        self.args = [self._inner(value) for value in args]
        self.kwargs = {key: self._inner(value) for key, value in kwargs.items()}

    def _inner(self, value: Any) -> Any:
        if isinstance(value, Sim):
            self.ours[id(value.raw)] = value
            return value.raw
        if isinstance(value, torch.Tensor):
            self.hosts.append(value)
        if isinstance(value, torch.device):
            return CPU if value.type == NAME else value
        return type(value)(map(self._inner, value)) if type(value) in (list, tuple) else value

    def outer(self, value: Any) -> Any:
        """A result: the argument that it is, or another tensor of the device."""
        if isinstance(value, torch.Tensor):
            found = self.ours.get(id(value))
            if found is None:
                streams.own(value)
            return Sim(value) if found is None else found
        return type(value)(map(self.outer, value)) if type(value) in (list, tuple) else value


def run(func: Any, args: Any, kwargs: Any) -> Any:
    """One operation of which an argument or the result is on the device."""
    given, kind = _Arguments(args, kwargs), _kind(func)
    streams.queue([ours.raw for ours in given.ours.values()], kind.written_of(args, kwargs))
    wanted = kwargs.get("device")
    here = bool(given.ours) if wanted is None else torch.device(wanted).type == NAME
    if func is aten.copy_.default:
        _note_copy(args[1], args[0].device, len(args) > 2 and args[2])
    elif func is aten._to_copy.default:
        target = torch.device(NAME, 0) if here else CPU
        _note_copy(args[0], target, kwargs.get("non_blocking", False))
    else:
        _note(kind, args)
        if kind.note == "random" and kwargs.get("generator") is not None and here:
            raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu'")
        if given.ours and given.hosts:
            _require_one_device(func, kind, args, given.hosts)
    out = func(*given.args, **given.kwargs)
    if any(a.shape != a.raw.shape or a.stride() != a.raw.stride() for a in given.ours.values()):
        raise NotImplementedError(f"the pretend device has no {func}, which changes a shape")
    return given.outer(out) if here else out


@dataclass(frozen=True)
class _Kind:
    """What is asked of an operator: how it waits, and what of the CPU it takes."""

    note: str | None
    indexed: bool
    scalars: bool
    written: tuple[tuple[int, str], ...]
    """Places and names of the arguments that it writes."""

    def written_of(self, args: Any, kwargs: Any) -> list[torch.Tensor]:
        """The values of this device's tensors that it is given to write."""
        found = [
            args[place] if place < len(args) else kwargs.get(name) for place, name in self.written
        ]
        flat = [one for value in found for one in (value if isinstance(value, list) else [value])]
        return [value.raw for value in flat if isinstance(value, Sim)]


_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
_WITH_SCALARS = {"fill", "fill_", "masked_fill", "masked_fill_"}


@cache
def _kind(func: Any) -> _Kind:
    name, note = func._schema.name.removeprefix("aten::"), None
    if name in _INDEXED:
        pass  # it depends on the indices
    elif Tag.data_dependent_output in func.tags:
        note = "item"
    elif Tag.dynamic_output_shape in func.tags:
        note = "size"
    elif func.namespace == "c10d":
        note = "collective"
    elif Tag.nondeterministic_seeded in func.tags and "attention" not in name:
        note = "random"
    scalars = name in _INDEXED | _WITH_SCALARS or Tag.pointwise in func.tags
    written = tuple(
        (place, argument.name)
        for place, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    return _Kind(note, name in _INDEXED, scalars, written)


def _require_one_device(func: Any, kind: _Kind, args: Any, hosts: Sequence[torch.Tensor]) -> None:
    """CUDA takes a scalar of the CPU where it computes by element, and indices; nothing else."""
    indexed = kind.indexed and isinstance(args[0], Sim)
    for other in hosts:
        if indexed and any(other is index for index in args[1]):
            continue
        written = other is args[0] and (kind.indexed or kind.written)
        if other.dim() or not kind.scalars or written:
            raise RuntimeError(
                f"{func}: expected all tensors on the same device, and found {NAME}:0 and "
                f"{other.device} (of shape {list(other.shape)})"
            )


def _note(kind: _Kind, args: Any) -> None:
    if kind.note is not None:
        traffic.note(kind.note)
    for index in args[1] if kind.indexed else ():
        if index is not None and index.dtype in (torch.bool, torch.uint8):
            traffic.note("size")
        elif index is not None and not isinstance(index, Sim):
            traffic.note("to sim")


def _note_copy(source: torch.Tensor, target: torch.device, non_blocking: bool) -> None:
    if source.device.type == target.type:
        return
    if target.type == NAME and non_blocking:
        traffic.note("unwaited")
        if is_page_locked(source):  # else the driver has read it by now
            traffic.queue(source)
    else:
        traffic.note(f"to {target.type}")


# Kernels for what makes tensors of none, and for what torch calls from inside itself.


def _attention(
    query: Any, key: Any, value: Any, mask: Any = None, dropout: float = 0.0,
    causal: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """What the CPU computes; torch itself spells it out for devices that it does not know."""
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, -torch.inf)
    raws = _Arguments((query, key, value, mask), {}).args
    if torch._fused_sdp_choice(*raws, dropout, causal, **options) == 1:
        fused = aten._scaled_dot_product_flash_attention_for_cpu
        scale = options.get("scale")
        return fused(query, key, value, dropout, causal, attn_mask=mask, scale=scale)[0]
    spelt_out = aten._scaled_dot_product_attention_math
    return spelt_out(query, key, value, mask, dropout, causal, **options)[0]


def _factories() -> Iterator[tuple[str, Any]]:
    """The operators that are given a device and no tensor."""
    for whole in torch._C._dispatch_get_all_op_names():
        name = whole.removeprefix("aten::")
        packet, _, overload = name.partition(".")
        func = getattr(getattr(aten, packet, None), overload or "default", None)
        if not whole.startswith("aten::") or func is None:
            continue
        takes = {argument.name: str(argument.type) for argument in func._schema.arguments}
        if "device" in takes and not any("Tensor" in kind for kind in takes.values()):
            yield name, func


def _kernels() -> library.Library:
    kernels = library.Library("aten", "IMPL")

    def add(name: str, func: Any, key: str = "PrivateUse1") -> None:
        kernels.impl(name, lambda *args, **kwargs: run(func, args, kwargs), key)

    for name, func in _factories():
        add(name, func)
    add("copy_", aten.copy_.default)
    # Torch would spell it out, with another rounding.
    add("silu_backward", aten.silu_backward.default, "AutogradPrivateUse1")
    kernels.impl("scaled_dot_product_attention", _attention, "AutogradPrivateUse1")
    return kernels


_page_locked: dict[int, Any] = {}
_installed: list[library.Library] = []


def is_page_locked(tensor: torch.Tensor) -> bool:
    """Whether a tensor's memory was given by `pin_memory`."""
    return tensor.untyped_storage().data_ptr() in _page_locked


def _page_lock(self: torch.Tensor, device: Any = None) -> torch.Tensor:
    made = self.clone()
    storage = made.untyped_storage()
    _page_locked[storage.data_ptr()] = storage  # kept: no other gets its address
    return made


def install() -> None:
    """From now on this process has the accelerator."""
    if _installed:
        return
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    _installed.append(_kernels())
    torch.Tensor.pin_memory = _page_lock  # type: ignore[method-assign, assignment]
