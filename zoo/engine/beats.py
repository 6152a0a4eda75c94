"""Signs of life between processes: one that waits for others hears whether they still go on."""

from contextlib import suppress

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store


class Beats:
    """Tells the others how far this process is, and hears how far they are, through a store."""

    def __init__(self, store: Store, rank: int, size: int) -> None:
        """`store` is shared by all; a connection of its own is made, as a thread will use it."""
        self._store = store.clone()  # type: ignore[attr-defined]
        self._own = f"beats/{rank}"
        self._others = [f"beats/{other}" for other in range(size) if other != rank]
        self.tell(0)

    def tell(self, count: int) -> None:
        """The signs of progress so far; one that stands still is not told again."""
        # With the store gone the first process is, and the watchdog will say so.
        with suppress(dist.DistError, RuntimeError):
            self._store.set(self._own, str(count))

    def hear(self) -> tuple[bytes, ...]:
        """What each of the others told last; equal if none of them has gone on."""
        with suppress(dist.DistError, RuntimeError):
            return tuple(self._store.get(key) for key in self._others if self._store.check([key]))
        return ()
