"""Estimated against measured memory: `zoo check`'s numbers for each ZeRO stage, and real runs.

    python benchmarks/memory.py [--processes 1 2] [--only WORD]

Trains tests/plugin/random_sd3.yaml (Stable Diffusion 3's transformer of 31M random parameters) on
the CPU in every layout; then, on one process, the policy `diffusers` on such a network with text
encoders of 44M parameters, an autoencoder and two rewards of 76M together (tests/real_shapes.py):
NFT with LoRA, Flow-GRPO and full fine-tuning. Measured is the peak of resident memory above what
the process holds once a tiny model has been trained in it, of the process that has most; see
tests/memory_run.py. The last lines are what `zoo.plan.memory.ERROR` and `ERROR_OF_STAGE_3` must
cover.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.memory_run import Compared, compared
from tests.real_shapes import WHOLE_RUNS, write

LORA = "policy.lora={rank: 16, alpha: 32}"
GRPO = ("objective={name: flow_grpo}", "sampler.solver={name: flow_sde}", "sampler.steps=4")
LARGER = ("policy.layers=10", "policy.heads=8")  # 90M parameters: DeepSpeed fetches in parts.
FETCH_LITTLE = "engine.deepspeed={zero_optimization: {stage3_prefetch_bucket_size: 3000000}}"


def cases(processes: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every layout for full fine-tuning; those that differ for LoRA; other geometries."""
    for stage in ("null", 0, 1, 2, 3):
        yield f"full, {_name(stage)}", (f"engine.zero_stage={stage}",)
    if processes == 1:
        return
    for stage in ("null", 2, 3):
        yield f"LoRA, {_name(stage)}", (f"engine.zero_stage={stage}", LORA)
    yield "LoRA, plain, batch 16", (LORA, "engine.micro_batch={sample: 8, train: 8}")
    yield "LoRA, plain, bfloat16", (LORA, "policy.bfloat16=true")
    yield "LoRA, plain, Flow-GRPO", (LORA, *GRPO)
    yield "LoRA, ZeRO 3, larger", ("engine.zero_stage=3", LORA, *LARGER)
    yield "full, ZeRO 2, larger", ("engine.zero_stage=2", *LARGER)
    yield "full, ZeRO 3, little fetched", ("engine.zero_stage=3", FETCH_LITTLE)


def _name(stage: object) -> str:
    return "plain" if stage == "null" else f"ZeRO {stage}"


def measured(processes: list[int], only: str) -> Iterator[tuple[str, Compared]]:
    """Each case whose name has the word."""
    for number in processes:
        for name, overrides in cases(number):
            if only in name:
                with tempfile.TemporaryDirectory() as folder:
                    yield f"{name}, {number} proc.", compared(overrides, number, Path(folder))
    for name, (lora, overrides) in WHOLE_RUNS.items():
        if only in name:
            with tempfile.TemporaryDirectory() as folder:
                written = write(Path(folder) / "models", lora)
                whole = (*written.whole, *overrides)
                yield f"{name}, 1 proc.", compared(whole, 1, Path(folder), written.tiny)


def main() -> None:
    """Prints a line for each case as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    parts = (
        "network", "copies", "gradients", "optimizer", "encoders", "autoencoder", "rewards",
        "activations", "buffers",
    )  # fmt: skip
    headers = (*(part[:9] for part in parts), "estimate", "measured")
    print("MB of a process".ljust(34), *(header.rjust(9) for header in headers), "  error  peak in")
    worst = {True: 0.0, False: 0.0}
    for name, found in measured(options.processes, options.only):
        numbers = [getattr(found.estimate.parts, part) for part in parts]
        numbers += [found.tensors, found.measured]
        print(name.ljust(34), *(f"{number / 1e6:9.0f}" for number in numbers), end="")
        print(f"{found.error:+8.1%}  {found.estimate.phase}", flush=True)
        at_3 = found.estimate.layout.stage == 3
        worst[at_3] = max(worst[at_3], abs(found.error))
    print(f"the largest error is {worst[False]:.1%}, at stage 3 {worst[True]:.1%}")


if __name__ == "__main__":
    main()
