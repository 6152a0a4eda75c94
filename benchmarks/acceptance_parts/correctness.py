"""Whether the device computes what the CPU does, and training is what it is to be."""

import gc
import math
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import random_sd3
from benchmarks.acceptance_parts.part import Report, Setting
from benchmarks.acceptance_parts.runs import OBJECTIVES, RECIPES, epoch, recipe, relative
from zoo import devices
from zoo.engine.interrupt import Interrupt
from zoo.policy.tiny_pipelines import write_tiny_pipeline
from zoo.recipe.recipe import Recipe, load_recipe
from zoo.rollout import Weights, take
from zoo.run.tracker import Tracker
from zoo.training.baseline import measure_untrained
from zoo.training.build import StageRun, build
from zoo.training.collect import shard_groups
from zoo.training.epoch import groups_of

_TF32 = 2e-3
"""Of a float32 network whose products are TF32: 11 bits of the factors, 5e-4, a few layers deep."""


def make_model(setting: Setting, report: Report) -> None:
    """Writes the random model, made on the device."""
    setting.model.mkdir(parents=True, exist_ok=True)
    if setting.small:
        write_tiny_pipeline("StableDiffusion3Pipeline", setting.model)
    else:
        random_sd3.write(setting.model, full_size=True, device=setting.torch_device)
    size = sum(file.stat().st_size for file in setting.model.rglob("*") if file.is_file())
    report.number("GB", size / 1e9)
    report.judge("the random model is written", True, f"{size / 1e9:.3g} GB", "it is there")


def compare_digits(setting: Setting, report: Report) -> None:
    """The digits, made and trained on the device and on the CPU."""
    _compare(setting, report, "nft_digits")


def compare_scenes(setting: Setting, report: Report) -> None:
    """The scenes, which have an autoencoder and text encoders, likewise."""
    _compare(setting, report, "nft_scenes")


def _compare(setting: Setting, report: Report, name: str) -> None:
    found: dict[str, Mapping[str, Tensor]] = {}
    # The CPU first: an accelerator has torch round products of float32 otherwise from then on.
    for device in ("cpu", setting.device):
        changes = {
            "data.groups_per_epoch": 2, "data.group_size": 8, "eval": "null", "sampler.steps": 5,
            "optim.updates_per_epoch": 1, "engine.device": device,
            "engine.micro_batch": "{sample: 16, train: 16}",
        }  # fmt: skip
        overrides = [f"{key}={value}" for key, value in changes.items()]
        made = _trained(load_recipe(RECIPES / f"{name}.yaml", overrides))
        found["device" if "cpu" in found else "cpu"] = made
    device, cpu = found["device"], found["cpu"]
    for key in cpu:
        report.number(f"{key}, relative error", relative(device[key], cpu[key]))
    reason = "products of float32 are TF32 on CUDA, exact to 5e-4 each, a few layers deep"
    for key, bound in (
        ("velocity", _TF32), ("images", 10 * _TF32), ("loss", 0.02), ("gradient's norm", 0.02),
    ):  # fmt: skip
        error = relative(device[key], cpu[key])
        report.judge(key, error <= bound, f"{error:.2g} off the CPU", f"{bound:g}: {reason}")
    gap = abs(float(device["reward"]) - float(cpu["reward"]))
    report.judge(
        "reward", gap <= 0.02, f"{gap:.2g} off the CPU", "0.02: a hair of a score in [0,1]"
    )


def _trained(made: Recipe) -> dict[str, Tensor]:
    run = build(made).stages[0]
    policy, share = run.model.policy, shard_groups(run.collector, groups_of(run, 0))
    images = torch.cat([batch.images for batch in share.generate()])
    x = share.wanted.draws.normal(policy.latent_shape)
    t = torch.linspace(0.1, 0.9, len(x), device=x.device)
    with torch.no_grad():
        velocity = policy.velocity(x, t, take(share.wanted.cond, torch.arange(len(x))))
    done = epoch(run)
    reward = next(iter(done.collected.verdict.scores.values())).nanmean()
    metrics = done.learned.metrics
    return {
        "velocity": velocity.cpu(), "images": images.cpu(), "reward": reward,
        "loss": torch.tensor(metrics["loss"]),
        "gradient's norm": torch.tensor(metrics["grad_norm"]),
    }  # fmt: skip


def probe_objectives(setting: Setting, report: Report) -> None:
    """The probes of every objective on the large model, in bfloat16."""
    for objective in OBJECTIVES:
        try:
            holds, said = _probe(setting, objective)
        except Exception as error:
            holds, said = False, f"{type(error).__name__}: {error}".splitlines()[0]
        report.number(objective, said)
        report.judge(f"probes of {objective}", holds, said, "each probe's own: see docs/algorithms")
        gc.collect()
        devices.release_memory()


def _probe(setting: Setting, objective: str) -> tuple[bool, str]:
    run = build(recipe(setting, objective, images=8, batch=4, steps=3)).stages[0]
    noted = Noted()
    measure_untrained(run, (), noted, Interrupt(run.model.engine, print))
    wrong = [one for one in noted.probes if not one["holds"]]
    shown = [
        f"{one['name']} {one['measured']:.3g} ({one['expected']:g} ± {one['tolerance']:.1g})"
        for one in wrong or noted.probes
    ]
    return not wrong and bool(noted.probes), "; ".join(shown)


class Noted(Tracker):
    """Keeps a run's probes, and writes nothing."""

    def __init__(self) -> None:
        """In no folder."""
        super().__init__(Path())
        self.probes: list[dict[str, object]] = []

    def note(self, name: str, data: object) -> None:
        """What the loop writes down beside its metrics: `probes.json`."""
        if isinstance(data, list):
            self.probes = data


def compare_zero(setting: Setting, report: Report) -> None:
    """An update under ZeRO 1 to 3, of this process alone, against a plain one."""
    from zoo.engine.rendezvous import join, leave

    os.environ.setdefault("LOCAL_RANK", "0")
    join(60, print, alone=True)
    small = {"images": 4, "batch": 2, "steps": 3}
    plain = _changed(recipe(setting, **small))
    for stage in (1, 2, 3):
        error = relative(_changed(recipe(setting, **small, engine__zero_stage=stage)), plain)
        report.number(f"ZeRO {stage}, relative distance of what an update changed", error)
        report.judge(
            f"ZeRO {stage} against plain", error <= 1e-3, f"{error:.2g}",
            "1e-3: the same gradients, but for the order in which sums are made",
        )  # fmt: skip
    leave()


def _changed(made: Recipe) -> Tensor:
    """What an update changes of LoRA's weights, as one vector."""
    run = build(made).stages[0]
    before = _flat(run)
    epoch(run)
    after = _flat(run)
    del run
    gc.collect()
    devices.release_memory()
    return after - before


def _flat(run: StageRun) -> Tensor:
    tensors = run.model.policy.weights.tensors(Weights.LIVE)
    return torch.cat([tensor.whole().flatten().cpu() for tensor in tensors.values()])


def repeat_exactly(setting: Setting, report: Report) -> None:
    """Two epochs with `engine.deterministic`, bit for bit; what that costs."""
    # Read when cuBLAS starts, which the first of these runs has it do.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    small = {"images": 8, "batch": 4, "steps": 3}
    usual = _second_epoch(build(recipe(setting, **small)).stages[0])
    devices.release_memory()
    found = []
    for _ in range(2):
        run = build(recipe(setting, **small, engine__deterministic=True)).stages[0]
        seconds = _second_epoch(run)
        tensors = run.model.policy.weights.tensors(Weights.LIVE)
        found.append({name: tensor.whole().cpu() for name, tensor in tensors.items()})
        del run, tensors
        devices.release_memory()
    one, other = found
    differ = [name for name in one if not torch.equal(one[name], other[name])]
    report.number("seconds of an epoch, usual and deterministic", [usual, seconds])
    report.judge(
        "two runs with engine.deterministic", not differ, f"{len(differ)} of {len(one)} differ",
        "all weights bit for bit: that is its promise",
    )  # fmt: skip
    cost = seconds / usual if usual else math.nan
    report.judge(
        "the cost of it", cost < 1.5 if setting.on_accelerator else None,
        f"{cost:.2f} times the usual epoch",
        "1.5: attention's deterministic backward is the slower kernel, all else is the same",
    )  # fmt: skip


def _second_epoch(run: StageRun) -> float:
    epoch(run)
    return epoch(run, 1).timed.total
