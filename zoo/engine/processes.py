"""Joining the processes of a run, however they were started."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist


def join(timeout: float, *, alone: bool = False) -> int:
    """Joins the other processes, where a launcher started this one among several.

    `timeout` in seconds is how long any process waits for the others. With `alone` a single
    process makes a group of its own, as DeepSpeed needs. Returns the number of processes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if dist.is_initialized():
        return size
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if size > 1:
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    elif alone:
        os.environ.setdefault("LOCAL_RANK", "0")
        store = torch._C._distributed_c10d.HashStore()
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
    return size


def leave() -> None:
    """Leaves the process group, if in one."""
    if dist.is_initialized():
        dist.destroy_process_group()
