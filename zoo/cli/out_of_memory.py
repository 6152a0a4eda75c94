"""An error about memory in words that help: where it ran out, and what needs less."""

import re
import traceback


def words(error: BaseException) -> str | None:
    """The line to say, if it is such an error."""
    place = _place(error)
    if place is None:
        return None
    found = re.search(r"tried to allocate ([\d.]+ \w+)", str(error), re.IGNORECASE)
    size = f" ({found[1]} more were wanted)" if found else ""
    phase, fix = _phase(error)
    return f"out of memory on {place}{phase}{size}: {fix}; `zoo check RECIPE` estimates the need"


def _place(error: BaseException) -> str | None:
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return "the GPU"
    # On the CPU torch raises a plain RuntimeError.
    on_cpu = "DefaultCPUAllocator: can't allocate memory" in str(error)
    return "this machine" if on_cpu or isinstance(error, MemoryError) else None


def _phase(error: BaseException) -> tuple[str, str]:
    """What was being done, and what to change, from the functions that the error went through."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = {frame.f_globals.get("__name__") for frame in frames}
    sampling = "fewer images at a time need less (-s engine.micro_batch.sample=N)"
    training = (
        "fewer rows at a time need less (-s engine.micro_batch.train=N), and so does keeping no "
        "activations (-s engine.gradient_checkpointing=true)"
    )
    if modules & {"zoo.training.learn", "zoo.training.probes"}:
        return " while training", training
    if "zoo.training.generate" not in modules:
        return "", f"{sampling}, in training {training}"
    if any(frame.f_code.co_name == "decode" for frame in frames):
        portion = "-s policy.decode_batch=N, where the policy has it"
        return " while decoding", f"{sampling[:-1]}; {portion})"
    return " while sampling", sampling
