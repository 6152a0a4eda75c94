"""All parts, the most telling first: what is cut off by the end of the time is the rest."""

from benchmarks.acceptance_parts import correctness, on_policy, speed, waits
from benchmarks.acceptance_parts.part import Part

MODEL = ("model",)
PARTS = (
    Part("digits", "the digits on the device against the CPU", correctness.compare_digits, 60),
    Part("scenes", "the scenes on the device against the CPU", correctness.compare_scenes, 90),
    Part("model", "a Stable Diffusion 3.5 Medium of random weights", correctness.make_model, 120),
    Part("memory", "peak memory against the estimate", speed.compare_memory, 120, MODEL),
    Part("plain", "throughput over micro-batches", speed.run_plain, 120, MODEL),
    Part("waits", "waits, and how busy the device is", waits.find_waits, 90, MODEL),
    Part("probes", "all objectives' probes in bfloat16", correctness.probe_objectives, 180, MODEL),
    Part("ratios", "Flow-GRPO with guidance before an update", on_policy.compare_ratios, 60, MODEL),
    Part("kernels", "attention and layouts of memory", speed.compare_kernels, 60, MODEL),
    Part("rewards", "rewards beside the sampling", speed.overlap_rewards, 90, MODEL),
    Part("zero", "ZeRO 1, 2, 3 of one process", correctness.compare_zero, 120, MODEL),
    Part("deterministic", "the same numbers again", correctness.repeat_exactly, 90, MODEL),
    Part("compiled", "throughput with compiled blocks", speed.run_compiled, 240, MODEL),
)
