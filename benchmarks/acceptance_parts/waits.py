"""Where the host waits for the device and the device for the host, by torch's profiler."""

import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, supported_activities

import zoo.training.learn
from benchmarks.acceptance_parts.part import Report, Setting
from benchmarks.acceptance_parts.runs import epoch, recipe
from zoo import devices
from zoo.training.build import StageRun, build

_BUSY = 0.8


def find_waits(setting: Setting, report: Report) -> None:
    """An epoch after the first: what the device is busy with, and what waits for it."""
    run = build(recipe(setting, images=8, batch=8, steps=3)).stages[0]
    epoch(run)
    with _lines_that_wait(setting) as lines:
        epoch(run, 1)
    if lines is None:
        report.judge("waits in learning", None, "not asked", "only CUDA tells them")
    else:
        report.number("lines that wait in learning", dict(lines))
        shown = ", ".join(lines) or "none"
        report.judge("waits in learning", not lines, shown,
                     "none: the device idles until the host has queued more")  # fmt: skip
    _profile(setting, report, run)


@contextmanager
def _lines_that_wait(setting: Setting) -> Iterator[Counter[str] | None]:
    """Inside, counts the lines that wait in a training micro-batch, as CUDA's debug mode warns."""
    if setting.torch_device.type != "cuda":
        yield None
        return
    found: Counter[str] = Counter()
    backward = zoo.training.learn._backward

    def watched(*args: Any) -> Any:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                return backward(*args)
            finally:
                torch.cuda.set_sync_debug_mode("default")
                found.update(
                    f"{Path(one.filename).name}:{one.lineno}"
                    for one in caught
                    if "synchroniz" in str(one.message)
                )

    zoo.training.learn._backward = watched
    try:
        yield found
    finally:
        zoo.training.learn._backward = backward


def _profile(setting: Setting, report: Report, run: StageRun) -> None:
    device = setting.torch_device
    activities = [one for one in supported_activities() if one in _activities(device)]
    with profile(activities=activities, acc_events=True) as seen:
        started = time.perf_counter()
        epoch(run, 2)
        devices.synchronize(device)
        seconds = time.perf_counter() - started
    kernels: Counter[str] = Counter()
    waits: Counter[str] = Counter()
    for event in seen.key_averages():
        on_device = event.device_type != DeviceType.CPU and not event.is_user_annotation
        if on_device:
            kernels[event.key[:80]] += event.self_device_time_total / 1e6
        elif "synchronize" in event.key.lower():
            waits[event.key] += event.count
    report.number("seconds of the epoch under the profiler", seconds)
    report.number("calls that wait", dict(waits))
    report.number("kernels that take most, in seconds", dict(kernels.most_common(12)))
    busy = sum(kernels.values()) / seconds
    report.number("the device is busy", busy)
    report.judge(
        "the device is busy", busy >= _BUSY if kernels else None,
        f"{busy:.0%} of the epoch" if kernels else "the profiler sees no kernels here",
        f"{_BUSY:.0%} under the profiler, which itself slows the host; else launches are too slow",
    )  # fmt: skip


def _activities(device: torch.device) -> tuple[ProfilerActivity, ...]:
    kinds = {"cuda": ProfilerActivity.CUDA, "xpu": ProfilerActivity.XPU}
    own = kinds.get(device.type)
    return (ProfilerActivity.CPU, own) if own is not None else (ProfilerActivity.CPU,)
