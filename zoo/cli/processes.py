"""What every process of a command does around its work: joins the others, shares the cores."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from zoo.cli.library_output import Noise
from zoo.engine.launch import started_by_launcher
from zoo.recipe.recipe import Recipe


@contextmanager
def joined(recipe: Recipe, *, sharded: bool) -> Iterator[tuple[int, Noise | None]]:
    """Yields the number of processes, and the log of a worker's noise; leaves them at the end.

    `sharded` is for DeepSpeed, which needs a process group of one process too, and is noisy.
    """
    from zoo.engine import processes, watchdog

    _share_cores(recipe)
    # The others wait at most while a reward of one hangs.
    scoring = max(stage.recipe.scoring.timeout for stage in recipe.timeline)
    seconds = recipe.engine.timeout + scoring
    if started_by_launcher():
        watchdog.start(seconds)
    rank = int(os.environ.get("RANK", "0"))
    with Noise(rank) if started_by_launcher() or sharded else nullcontext() as noise:
        try:
            with watchdog.waiting():
                # Longer, so that it is the watchdog who speaks: it knows the cause.
                size = processes.join(seconds + 120, alone=sharded)
            yield size, noise
        finally:
            processes.leave()
            watchdog.stop()


def _share_cores(recipe: Recipe) -> None:
    """As many CPU threads as the recipe says; by default the processes here share the cores."""
    import torch

    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if recipe.engine.threads != "auto":
        torch.set_num_threads(recipe.engine.threads)
    elif local > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // local))
