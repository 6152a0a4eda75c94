"""`zoo prompts`: what a source of prompts holds."""

from collections import Counter
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from zoo.data import builtin, source
from zoo.data.prompts import load
from zoo.errors import visible
from zoo.prompt import Prompt
from zoo.terminal import Terminal


def show(written: str | None, num: int) -> None:
    """The first prompts of a source, and how many it has of each kind; without one the built-ins.

    Raises:
        PromptError: it cannot be read.
    """
    console = Terminal()
    if written is None:
        _print_builtins(console)
        return
    prompts = load(written)
    distinct = len({prompt.text for prompt in prompts})
    told = "all different" if distinct == len(prompts) else f"{distinct:,} different"
    console.print(
        Text(written, "bold"), f"{len(prompts):,} prompts, {told}", sep=": ", soft_wrap=True
    )
    for kind in ("tag", "category"):
        counts = Counter(str(p.metadata[kind]) for p in prompts if kind in p.metadata)
        if counts:
            shares = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(20))
            more = f" and {len(counts) - 20:,} more" if len(counts) > 20 else ""
            console.print(f"by {kind}: {shares}{more}", soft_wrap=True)
    for prompt in prompts[:num]:
        console.print(_line(prompt), soft_wrap=True)


def _line(prompt: Prompt) -> Text:
    line = Text(f"  {visible(prompt.text)}")
    if prompt.inputs:
        line.append(f"  to edit: {', '.join(map(str, prompt.inputs))}", style="dim")
    if prompt.images:
        line.append(f"  {len(prompt.images)} images", style="dim")
    if prompt.metadata:
        line.append(f"  {dict(prompt.metadata)}", style="dim")
    return line


def _print_builtins(console: Terminal) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("source", "prompts", "options", "what"):
        table.add_column(heading)
    for name, prompts in builtin.BUILTIN.items():
        options: Sequence[str] = source.names(prompts.make)
        table.add_row(
            f"builtin:{name}", f"{len(prompts.make()):,}", ", ".join(options), prompts.about
        )
    console.print(table)
    console.print(
        "\nor FILE (.txt, .jsonl, .json, .csv, .tsv, .parquet), FOLDER?split=train, "
        "hub:OWNER/NAME?split=train&column=prompt&input=image&config=...&revision=...",
        markup=False,
        soft_wrap=True,
    )
