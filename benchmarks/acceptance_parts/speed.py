"""How fast the large model is collected and trained, plain and compiled, and in how much memory."""

import gc
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.acceptance_parts.part import Report, Setting
from benchmarks.acceptance_parts.runs import epoch, measure, recipe, relative, seconds_of
from zoo import devices
from zoo.cli.check_cost import UTILISATION
from zoo.plan.footprint import footprint
from zoo.plan.layout import SPARE, Layout
from zoo.plan.memory import estimate
from zoo.policy.pipeline.loaded import PipelinePolicy
from zoo.training.build import StageRun, build
from zoo.training.collect import shard_groups
from zoo.training.epoch import groups_of


def run_plain(setting: Setting, report: Report) -> None:
    """Epochs of two micro-batches, over their size."""
    rows = _over_batches(setting, report, (2, 4) if setting.small else (4, 8, 16, 32))
    least = UTILISATION[0]
    reached = [row["MFU % learn"] / 100 for row in rows.values() if "MFU % learn" in row]
    report.judge(
        "the best part of what products reach, learning",
        max(reached) >= least if reached else None,
        f"{max(reached):.0%}" if reached else "no accelerator",
        f"{least:.0%}: what `zoo check` reckons with; below, its times are too short",
    )  # fmt: skip


def run_compiled(setting: Setting, report: Report) -> None:
    """The same with engine.compile, against plain of the same process."""
    batches = (2,) if setting.small else (8, 16)
    plain = _over_batches(setting, report, batches)
    rows = _over_batches(setting, report, batches, engine__compile=True)
    for (name, row), before in zip(rows.items(), plain.values(), strict=True):
        gain = row["images/s"] / before["images/s"] if {"images/s"} <= row.keys() else 0.0
        report.number(f"{name}, times plain", gain)
        report.judge(
            f"{name} compiled", gain >= 1 if setting.on_accelerator else None, f"{gain:.2f} times",
            "1: else nothing pays for the minutes that compiling takes",
        )  # fmt: skip


def _over_batches(
    setting: Setting, report: Report, batches: tuple[int, ...], **changes: object
) -> dict[str, dict[str, float]]:
    rows = {}
    kind = "compiled" if changes else "plain"
    for batch in batches:
        name = f"{kind}, micro-batch {batch}"
        try:
            made = recipe(setting, images=2 * batch, batch=batch, **changes)
            rows[name] = measure(build(made).stages[0], 1 if setting.small else 2).row
        except Exception as error:
            if devices.out_of_memory(error) is None:
                raise
            report.number(name, "out of memory")
            break
        finally:
            _forget()
        report.number(name, rows[name])
    return rows


def _forget() -> None:
    gc.collect()
    torch.compiler.reset()
    devices.release_memory()


def compare_memory(setting: Setting, report: Report) -> None:
    """The peak of an epoch against what `zoo check` says of it."""
    cases: dict[str, dict[str, Any]] = {
        "nft": {}, "nft, checkpointing": {"engine__gradient_checkpointing": True},
        "flow_grpo, guidance": {"objective": "flow_grpo", "sampler__guidance": 4.5},
    }  # fmt: skip
    for name, changes in cases.items():
        made = recipe(setting, images=8, batch=4, steps=3, **changes)
        said = estimate(footprint(made, 1), Layout(None), 1, cuda=True)
        peak = _peak(build(made).stages[0])
        report.number(
            name, {"estimated GB": said.parts.total / 1e9, "peak in": said.phase, "GB": peak / 1e9}
        )
        ratio = said.parts.total / peak if peak else 0.0
        report.judge(
            f"zoo check's estimate of {name}",
            1 - SPARE <= ratio <= 1.25 if peak else None,
            f"{ratio:.2f} of what was held" if peak else "only an accelerator counts its memory",
            f"{1 - SPARE:.1f} to 1.25: a tenth is spared; more would buy larger cards than needed",
        )  # fmt: skip
        _forget()


def _peak(run: StageRun) -> int:
    devices.forget_most_memory()
    epoch(run)
    return devices.most_memory()


_REWARDS = """\
import time
import torch

SECONDS, SIZE = {seconds}, {size}


def on_the_host(images, prompts):
    time.sleep(SECONDS)
    return images.flatten(1).float().mean(1)


def on_the_device(images, prompts):
    a = torch.ones(SIZE, SIZE, device=images.device)
    ended = time.perf_counter() + SECONDS
    while time.perf_counter() < ended:
        float((a @ a).sum())
    return images.flatten(1).float().mean(1)


def at_once(images, prompts):
    return images.flatten(1).float().mean(1)
"""


def overlap_rewards(setting: Setting, report: Report) -> None:
    """How much of a reward's time is hidden behind the sampling: four micro-batches."""
    base = _collecting(setting, "at_once", 0.0)
    seconds = base / 8
    report.number("seconds of collecting, and of each of four calls", [base, seconds])
    for kind, least in (("on_the_host", 0.6), ("on_the_device", 0.0)):
        taken = _collecting(setting, kind, seconds)
        hidden = 1 - (taken - base) / (4 * seconds)
        report.number(kind, {"seconds of collecting": taken, "hidden": hidden})
        reason = (
            "0.6: of four calls the last has no sampling beside it"
            if least
            else "0: both want the one device, so little is to be won; it must not cost more"
        )
        good = hidden >= least - 0.05 if setting.on_accelerator else None
        report.judge(f"a reward {kind.replace('_', ' ')}", good, f"{hidden:.0%} hidden", reason)


def _collecting(setting: Setting, kind: str, seconds: float) -> float:
    file = setting.folder / f"reward_{kind}.py"
    size = 64 if setting.small else 4096
    file.write_text(_REWARDS.format(seconds=seconds, size=size), encoding="utf-8")
    reward = [{"name": "python", "path": f"{file}:{kind}", "label": kind}]
    made = recipe(setting, images=16, batch=4, steps=4, rewards=reward)
    run = build(made).stages[0]
    try:
        return min(epoch(run, i).timed.collect for i in range(3))
    finally:
        _forget()


def compare_kernels(setting: Setting, report: Report) -> None:
    """Attention by each kernel of torch, and the autoencoder in each layout of memory."""
    run = build(recipe(setting, images=8, batch=8, steps=2)).stages[0]
    _compare_attention(setting, report, run)
    _compare_layouts(setting, report, run)


def _compare_attention(setting: Setting, report: Report, run: StageRun) -> None:
    device, policy = setting.torch_device, run.model.policy
    share = shard_groups(run.collector, groups_of(run, 0))
    x = share.wanted.draws.normal(policy.latent_shape)
    t = torch.full((len(x),), 0.5, device=x.device)

    def step() -> torch.Tensor:
        out = policy.velocity(x, t, share.wanted.cond)
        out.square().mean().backward()
        return out

    expected, usual = step(), seconds_of(step, device)
    found = {"torch's choice": usual}
    for backend in (
        SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION,
        SDPBackend.MATH,
    ):  # fmt: skip
        name = backend.name.lower()
        try:
            with sdpa_kernel(backend):
                error = relative(step(), expected)
                found[name] = seconds_of(step, device)
        except RuntimeError as raised:
            report.number(f"attention, {name}", str(raised).splitlines()[0])
            continue
        report.number(f"attention, {name}, relative distance", error)
    report.number("attention, seconds of a forward and a backward of 8", found)
    best = min(found.values())
    report.judge(
        "torch's choice of attention", _within(setting, usual, best),
        f"{usual / best:.2f} times the best",
        "1.1: it should choose the best; less than a tenth is noise",
    )  # fmt: skip


def _compare_layouts(setting: Setting, report: Report, run: StageRun) -> None:
    device, policy = setting.torch_device, run.model.policy
    assert isinstance(policy, PipelinePolicy)
    latents = torch.zeros(8, *policy.latent_shape, device=device)
    vae = policy.seam.vae

    def decode() -> object:
        with torch.no_grad():
            return policy.decode(latents)

    found = {"as it is": seconds_of(decode, device)}
    for name, layout in (
        ("channels_last", torch.channels_last), ("contiguous", torch.contiguous_format)
    ):  # fmt: skip
        vae.to(memory_format=layout)
        found[name] = seconds_of(decode, device)
    report.number("autoencoder, seconds to decode 8", found)
    best = min(found.values())
    report.judge(
        "the autoencoder's layout of memory", _within(setting, found["as it is"], best),
        f"{found['as it is'] / best:.2f} times the best",
        "1.1: decoding is a few hundredths of an epoch, so less is not worth a switch",
    )  # fmt: skip


def _within(setting: Setting, found: float, best: float) -> bool | None:
    return found <= 1.1 * best if setting.on_accelerator else None
