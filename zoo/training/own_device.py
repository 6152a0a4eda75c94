"""The device of a process: chosen by the recipe, and told to torch before anything is made."""

import os

import torch

from zoo import devices
from zoo.recipe.recipe import Recipe


def device_of(recipe: Recipe) -> torch.device:
    """This process's device.

    Raises:
        ValueError: the recipe wants CUDA where there is none.
    """
    wanted, here = recipe.engine.device, devices.accelerator()
    if wanted == "cuda" and (here is None or here.type != "cuda"):
        raise ValueError(
            "engine.device is cuda, but no CUDA device is found; use engine.device: auto or cpu"
        )
    if wanted == "cpu" or here is None:
        return devices.CPU
    local, found = int(os.environ.get("LOCAL_RANK", "0")), devices.num_accelerators()
    if local >= found:
        raise ValueError(
            f"process {local + 1} on this machine has no GPU of its own: there are {found}; "
            f"use engine.processes: {found} or engine.device: cpu"
        )
    return torch.device(here.type, local)


def use_device(recipe: Recipe) -> torch.device:
    """This process's device, which code that names none finds from now on.

    Asked for before anything is made there: an accelerator's memory grows (`let_memory_grow`), and
    products of float32, of LoRA and of training all, are made by its fast units (TF32 on CUDA):
    their rounding is finer than that of a bfloat16 base. Those of the CPU are left alone.

    Raises:
        ValueError: the recipe wants CUDA where there is none.
    """
    device = device_of(recipe)
    devices.choose(device)
    devices.let_memory_grow(device)
    if devices.is_accelerator(device):
        torch.set_float32_matmul_precision("high")
    return device
