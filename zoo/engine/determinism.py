"""The same numbers from the same kernels: what torch must be told before it first uses a GPU."""

import os

import torch

_ENVIRONMENT = {
    # Read when cuBLAS starts: a workspace of its own for each stream.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # Read when NCCL starts: else it may choose how to sum by what else goes on.
    "NCCL_ALGO": "Ring",
    "NCCL_PROTO": "Simple",
}


def use_deterministic_kernels() -> None:
    """From now on torch takes deterministic kernels, and raises where an operation has none.

    Attention is flash attention or torch's own: the backward pass of the memory-efficient and of
    cuDNN's kernels adds up in any order. Variables of the environment that are set are left alone.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
