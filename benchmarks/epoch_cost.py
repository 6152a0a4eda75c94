"""Times whole epochs of a run against their calls alone, counts their FLOPs, and splits them up."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from zoo import devices
from zoo.engine.interrupt import Interrupt
from zoo.plan.flops import counter, reachable
from zoo.reward.base import Scores
from zoo.rollout import Weights
from zoo.run.tracker import Tracker
from zoo.training.build import StageRun
from zoo.training.epoch import advantages, collect_epoch, learn_epoch
from zoo.training.metrics import peak_memory_gb
from zoo.training.state import Progress


@dataclass(frozen=True)
class Cost:
    """Of an epoch; `overhead` is its time by that of its calls alone, less one."""

    images_per_second: float
    forwards_per_second: float
    overhead: float
    flops: int
    flops_per_second: float
    reachable: float
    peak_gb: float
    shares: dict[str, float]


Call = Callable[[], None]


class Recorder:
    """While it records, keeps what is called with what, to be called again."""

    def __init__(self, run: StageRun) -> None:
        self.calls: list[Call] = []
        self._run = run

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Inside, every forward of the network, decode and reward is kept."""
        weights, policy = self._run.model.policy.weights, self._run.model.policy
        forward, decode = weights._forward, policy.decode
        scores = [judged.reward.score for judged in self._run.collector.judge.rewards]

        def network(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(self._forward(forward, args, kwargs, weights._active))
            return forward(*args, **kwargs)

        def decoded(latents: Tensor) -> Tensor:
            self.calls.append(lambda: discard(decode(latents)))
            return decode(latents)

        weights._forward = network
        policy.decode = decoded  # type: ignore[method-assign]
        for judged, score in zip(self._run.collector.judge.rewards, scores, strict=True):
            judged.reward.score = self._scored(score)  # type: ignore[method-assign]
        try:
            yield
        finally:
            weights._forward = forward
            del policy.decode
            for judged in self._run.collector.judge.rewards:
                del judged.reward.score

    def _forward(self, forward: Any, args: Any, kwargs: Any, active: Weights) -> Call:
        weights, graded = self._run.model.policy.weights, torch.is_grad_enabled()

        def call() -> None:
            with torch.set_grad_enabled(graded), weights.using(active):
                out = forward(*args, **kwargs)[0]
            if graded:
                out.backward(torch.ones_like(out))

        return call

    def _scored(self, score: Any) -> Any:
        def call(images: Tensor, prompts: Any) -> Tensor | Scores:
            self.calls.append(lambda: discard(score(images, prompts)))
            return score(images, prompts)

        return call


def discard(value: object) -> None:
    """What a call gives is not needed."""


class Clock:
    """Seconds by phase, each call waited for."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device

    def timed(self, phase: str, function: Any) -> Any:
        """The function, its time counted as the phase's."""

        def call(*args: Any, **kwargs: Any) -> Any:
            named = (
                f"{phase}, gradients" if phase == "network" and torch.is_grad_enabled() else phase
            )
            self.wait()
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.wait()
                spent = time.perf_counter() - started
                self.seconds[named] = self.seconds.get(named, 0.0) + spent

        return call

    def wait(self) -> None:
        """Until the device has done all that was asked of it."""
        devices.synchronize(self._device)


def cost(run: StageRun, repeats: int) -> Cost:
    """Medians over so many epochs and so many replays, by turns; first one of each to warm up."""
    clock = Clock(run.model.engine.device)
    before = run.model.policy.weights.num_rows
    epoch(run, 0)
    rows = run.model.policy.weights.num_rows - before
    recorder = Recorder(run)
    with recorder.recording():
        epoch(run, 1)
    flops = counter()
    with flops:
        replay(recorder)
    seconds, ratios = [], []
    for i in range(repeats):
        whole = _seconds(clock, lambda i=i: epoch(run, 2 + i))
        alone = _seconds(clock, lambda: replay(recorder))
        seconds.append(whole)
        ratios.append(whole / alone)
    shares = _shares(run, clock)
    dtype = max(run.model.policy.weights.network.parameters(), key=torch.Tensor.numel).dtype
    usual = median(seconds)
    images = run.recipe.data.groups_per_epoch * run.recipe.data.group_size
    return Cost(
        images_per_second=images / usual,
        forwards_per_second=rows / usual,
        overhead=median(ratios) - 1,
        flops=flops.get_total_flops(),
        flops_per_second=flops.get_total_flops() / usual,
        reachable=reachable(run.model.engine.device, dtype),
        peak_gb=peak_memory_gb(),
        shares=shares,
    )


def epoch(run: StageRun, number: int) -> None:
    """As `zoo.training.loop` runs one."""
    tracker, interrupt = Tracker(Path()), Interrupt(run.model.engine, print)
    collected = collect_epoch(run, number, tracker, interrupt)
    progress = Progress(number, step=number)
    learned = learn_epoch(run, collected, advantages(run, collected), progress, tracker)
    run.objective.after_epoch(run.model.policy.weights, learned.step)


def replay(recorder: Recorder) -> None:
    """The calls of an epoch, one after the other; rewards, too, which an epoch overlaps."""
    for call in recorder.calls:
        call()
    for p in recorder._run.model.policy.weights.parameters().values():
        p.grad = None


def _seconds(clock: Clock, work: Callable[[], None]) -> float:
    clock.wait()
    started = time.perf_counter()
    work()
    clock.wait()
    return time.perf_counter() - started


def _shares(run: StageRun, clock: Clock) -> dict[str, float]:
    weights, policy, engine = run.model.policy.weights, run.model.policy, run.model.engine
    forward, decode, encode = weights._forward, policy.decode, policy.encode
    weights._forward = clock.timed("network", forward)
    policy.decode = clock.timed("decode", decode)  # type: ignore[method-assign]
    policy.encode = clock.timed("encode", encode)  # type: ignore[method-assign]
    engine.backward = clock.timed("backward", engine.backward)  # type: ignore[method-assign]
    engine.update = clock.timed("optimizer", engine.update)  # type: ignore[method-assign]
    run.collector.judge.finish = clock.timed("rewards left", run.collector.judge.finish)  # type: ignore[method-assign]
    try:
        whole = _seconds(clock, lambda: epoch(run, 1000))
    finally:
        weights._forward = forward
        del policy.decode, policy.encode, engine.backward, engine.update, run.collector.judge.finish
    shares = {phase: spent / whole for phase, spent in clock.seconds.items()}
    return {**shares, "rest": 1 - sum(shares.values())}
