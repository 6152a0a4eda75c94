"""The devices of this machine, by what torch calls its accelerator; what is there while used."""

from zoo.devices.torch_device import (
    CPU,
    OutOfMemory,
    accelerator,
    accelerator_names,
    choose,
    chosen,
    default_device,
    generators_in_use,
    is_accelerator,
    most_memory,
    num_accelerators,
    out_of_memory,
    send,
    synchronize,
    timer,
    whole_memory,
)

__all__ = [
    "CPU",
    "OutOfMemory",
    "accelerator",
    "accelerator_names",
    "choose",
    "chosen",
    "default_device",
    "generators_in_use",
    "is_accelerator",
    "most_memory",
    "num_accelerators",
    "out_of_memory",
    "send",
    "synchronize",
    "timer",
    "whole_memory",
]
