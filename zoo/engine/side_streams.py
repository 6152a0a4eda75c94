"""What DeepSpeed has under way beside the computing, on an accelerator's other streams.

It gathers and reduces on streams of its own. What of that the computing does not wait for costs
nothing: counted is where the stream that computes, or the host, waits for one of them.
"""

from collections.abc import Callable
from typing import Any

from zoo.engine.communication import Communication

_COLLECTIVES = (
    "all_gather", "all_gather_base", "all_gather_coalesced", "all_gather_into_tensor",
    "all_reduce", "all_reduce_coalesced", "barrier", "broadcast", "reduce", "reduce_scatter",
    "reduce_scatter_tensor",
)  # fmt: skip


class SideStreams:
    """Has collectives and waits for them add to what is known of communication."""

    def __init__(self, communication: Communication, accelerator: Any) -> None:
        """`accelerator` is DeepSpeed's; one without streams has everything on one."""
        self._communication, self._accelerator = communication, accelerator
        self._sides: set[Any] = set()
        if accelerator.current_stream() is not None:
            self._count_waits(type(accelerator.current_stream()))

    def count(self, backend: Any) -> None:
        """Counts the collectives of DeepSpeed's backend."""
        for name in _COLLECTIVES:
            # Of its class: another engine of this process may have counted it before.
            setattr(backend, name, self._counted(getattr(type(backend), name).__get__(backend)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:

        def counted(*args: Any, **kwargs: Any) -> Any:
            beside = self._stream_beside()
            with self._communication.on_device(counted=not beside):
                work = call(*args, **kwargs)
            return work if beside else self._communication.count(work)

        return counted

    def _stream_beside(self) -> bool:
        """Whether what is queued now is beside the computing."""
        stream = self._accelerator.current_stream()
        beside = stream is not None and stream != self._accelerator.default_stream()
        if beside:
            self._sides.add(stream)
        return beside

    def _count_waits(self, streams: type) -> None:
        """Counts where the stream that computes, or the host, waits for one of the others."""
        wait_stream, synchronize = streams.wait_stream, streams.synchronize  # type: ignore[attr-defined]

        def counted_wait(stream: Any, other: Any) -> Any:
            if other not in self._sides or stream != self._accelerator.default_stream():
                return wait_stream(stream, other)
            with self._communication.on_device():
                return wait_stream(stream, other)

        def counted_synchronize(stream: Any) -> Any:
            if stream not in self._sides:
                return synchronize(stream)
            with self._communication.on_host():
                return synchronize(stream)

        streams.wait_stream, streams.synchronize = counted_wait, counted_synchronize  # type: ignore[attr-defined]
