"""Where prompts come from, and which ones an epoch draws.

A source is `builtin:NAME`, a text file with a prompt a line, or a jsonl file with an object a line:
`{"prompt": "the digit seven", "digit": 7}`, whose other keys become the prompt's metadata.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from zoo import digits, seeds
from zoo.prompt import Prompt, PromptError
from zoo.registry import closest

_BUILTIN: dict[str, Callable[[], list[Prompt]]] = {
    "digits/train": lambda: digits.prompts("train"),
    "digits/eval": lambda: digits.prompts("eval"),
}


def load(source: str) -> list[Prompt]:
    """All prompts of a source, in its order.

    Raises:
        PromptError: in one line, what is wrong with which line of which file.
    """
    if source.startswith("builtin:"):
        return _builtin(source.removeprefix("builtin:"))
    path = Path(source)
    if path.suffix not in (".txt", ".jsonl"):
        raise PromptError(
            f"prompts '{source}' are neither a .txt or .jsonl file nor builtin:NAME{_names()}"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise PromptError(
            f"prompt file '{source}' does not exist (looked for {path.absolute()})"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"prompt file '{source}' cannot be read as UTF-8 text: {error}") from None
    lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    prompts = [
        _parsed(line, path, i) if path.suffix == ".jsonl" else Prompt(line) for i, line in lines
    ]
    if not prompts:
        raise PromptError(f"prompt file '{source}' has no prompts; write one a line")
    return prompts


def drawn(prompts: Sequence[Prompt], num_groups: int, *, seed: int, epoch: int) -> list[Prompt]:
    """The prompts of an epoch's groups, drawn afresh: distinct until all have been used."""
    chosen: list[Prompt] = []
    for lap in range(-(-num_groups // len(prompts))):
        order = seeds.order(len(prompts), seed=seed, purpose=f"prompts {lap}", epoch=epoch)
        chosen += [prompts[i] for i in order.tolist()]
    return chosen[:num_groups]


def _builtin(name: str) -> list[Prompt]:
    if name not in _BUILTIN:
        raise PromptError(f"no built-in prompts '{name}'{closest(name, list(_BUILTIN))}{_names()}")
    return _BUILTIN[name]()


def _names() -> str:
    return f" (built in: {', '.join(f'builtin:{name}' for name in _BUILTIN)})"


def _parsed(line: str, path: Path, number: int) -> Prompt:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise PromptError(f"{path}:{number}: not a JSON object: {error.msg}") from None
    if not isinstance(entry, dict) or not isinstance(entry.get("prompt"), str):
        raise PromptError(
            f'{path}:{number}: each line is an object with a text "prompt"; this is {line[:60]!r}'
        )
    return Prompt(entry.pop("prompt"), entry)
