"""The worker's loop: a message in, a message out, until zoo closes the connection."""

import inspect
import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

import numpy as np

from zoo_reward_worker import PROTOCOL
from zoo_reward_worker.channel import Channel
from zoo_reward_worker.failure import first_line
from zoo_reward_worker.find import find
from zoo_reward_worker.native import Native, device_of, is_native
from zoo_reward_worker.options import fit_options, options, takes_device
from zoo_reward_worker.reward import Prompt, Reward, Scores
from zoo_reward_worker.wire import Buffer, Message, decode, encode


def description(name: str) -> dict[str, Any]:
    """What a recipe needs to know of a reward, without an instance of it."""
    cls, package = find(name)
    return {
        "protocol": PROTOCOL,
        "name": name.rpartition(":")[2],
        "package": package,
        "python": platform.python_version(),
        "groupwise": cls.groupwise,
        "takes": cls.takes,
        "doc": inspect.getdoc(cls) or "",
        "options_doc": inspect.getdoc(cls.__init__) or "",
        "options": options(cls),
    }


def build(name: str, device: str, values: Mapping[str, Any]) -> Reward:
    """An instance of a registered reward with these options."""
    cls: type[Any] = find(name)[0]
    native = is_native(cls)
    where: Any = device_of(device) if native else device
    made: Any = cls(*([where] if takes_device(cls) else []), **fit_options(cls, values))
    return Native(made, where) if native else made


def serve(channel: Channel, name: str, device: str, values: Mapping[str, Any]) -> None:
    """Builds the reward and answers until the channel closes."""
    try:
        reward = build(name, device, values)
    except (Exception, SystemExit) as error:
        channel.send(encode(_failure(error)))
        return
    ready = {"kind": "ready", "protocol": PROTOCOL, "groupwise": reward.groupwise}
    channel.send(encode(Message(ready)))
    while True:
        try:
            asked = channel.receive()
        except EOFError:
            return
        channel.send(answer(reward, asked))


def answer(reward: Reward, asked: Buffer) -> bytes:
    """The reply to a message; of what is raised a line, and the traceback to stderr as well."""
    try:
        message = decode(asked)
        kind = message.header["kind"]
        if kind == "score":
            return encode(_score(reward, message))
        if kind == "known_answers":
            return encode(_known_answers(reward))
        raise ValueError(f"a message of kind {kind!r} is unknown to protocol {PROTOCOL}")
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        sys.stderr.flush()
        return encode(_failure(error))


def _score(reward: Reward, message: Message) -> Message:
    prompts = [Prompt(each["text"], each["metadata"]) for each in message.header["prompts"]]
    found: Any = reward.score(message.arrays["images"], prompts)
    scores = found if isinstance(found, Scores) else Scores(found)
    arrays = {"value": _numbers(scores.value)}
    for name, extra in scores.extras.items():
        arrays[f"extra/{name}"] = _numbers(extra)
    return Message({"kind": "scores"}, arrays)


def _known_answers(reward: Reward) -> Message:
    listed, arrays = [], {}
    for i, known in enumerate(reward.known_answers()):
        prompts = [{"text": p.text, "metadata": dict(p.metadata)} for p in known.prompts]
        listed.append({"prompts": prompts, "tolerance": known.tolerance})
        arrays[f"images/{i}"] = known.images
        arrays[f"scores/{i}"] = _numbers(known.scores)
    return Message({"kind": "known_answers", "answers": listed}, arrays)


def _numbers(value: Any) -> np.ndarray:
    """What a reward returned, as float64; zoo looks at whether it is one number an image."""
    return np.asarray(value, dtype=np.float64)


def _failure(error: BaseException) -> Message:
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return Message(
        {
            "kind": "error",
            "type": type(error).__name__,
            "message": first_line(error),
            "traceback": trace,
        }
    )


def end_with_parent() -> None:
    """Ends this process soon after its parent, even while a reward is at work or hangs."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
