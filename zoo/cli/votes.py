"""`zoo votes`: who voted on a run's images, and what they prefer as a table of pairs."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from zoo.cli.new_file import require_new
from zoo.errors import UserError, one_line
from zoo.run import votes
from zoo.run.votes import Merged, Vote
from zoo.storage.files import replacing, writing
from zoo.terminal import say


def show_votes(run_dir: Path, out: Path | None, *, overwrite: bool) -> None:
    """Says how often who voted; writes the pairs where `out` names a file.

    Raises:
        UserError: nobody voted, or there is no pair to write; the file is no .parquet, or is
            there, or pyarrow is not installed.
        DamagedFileError: a vote is not what was written.
        WriteError: the file cannot be written.
    """
    if out is not None and out.suffix != ".parquet":
        raise UserError(f"--out {out}: pairs are written as parquet; name a .parquet file")
    if out is not None:
        require_new(out, overwrite=overwrite)
    found = votes.read(run_dir)
    if not found:
        raise UserError(
            f"{run_dir} has no votes: {votes.path_of(run_dir)} is not there, or empty; the reward "
            "'human' asks people for them"
        )
    merged = votes.merge(found)
    people = Counter(vote.voter for vote in found)
    shown = ", ".join(f"{voter} {number}" for voter, number in people.most_common())
    say(f"{_counted(len(found), 'vote')} on {_counted(_num_groups(found), 'prompt')}: {shown}")
    if out is not None:
        pairs = list(_pairs(run_dir, merged.values()))
        if not pairs:
            raise UserError(f"{run_dir}: no vote prefers an image to another; there are no pairs")
        _write(out, pairs)
        say(f"{out}: {_counted(len(pairs), 'pair')}; data.train of dpo and kto recipes takes it")


def _num_groups(found: Iterable[Vote]) -> int:
    return len({vote.group for vote in found})


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _pairs(run_dir: Path, merged: Iterable[Merged]) -> Iterator[dict[str, Any]]:
    """The best and the worst image of each group; none where people see none as such."""
    folder = votes.path_of(run_dir).parent
    for group in merged:
        best, worst = max(group.preference), min(group.preference)
        if best == worst:
            continue
        chosen = group.images[group.preference.index(best)]
        rejected = group.images[group.preference.index(worst)]
        yield {
            "prompt": group.prompt,
            "chosen": _encoded(folder, chosen),
            "rejected": _encoded(folder, rejected),
            "margin": best - worst,
            "votes": group.num_votes,
        }


def _encoded(folder: Path, name: str) -> dict[str, Any]:
    """An image as the library `datasets` keeps it."""
    path = folder / name
    try:
        return {"bytes": path.read_bytes(), "path": path.name}
    except OSError as error:
        raise UserError(
            f"the image {path} of a vote cannot be read: {error.strerror}; put it back, or delete "
            f"its lines of {folder / votes.FILE}"
        ) from None


def _write(out: Path, pairs: list[dict[str, Any]]) -> None:
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            f"--out {out} needs pyarrow to be written ({one_line(error)}); install it: "
            "pip install 'diffusion-rl-zoo[parquet]'"
        ) from None
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema(
        [
            ("prompt", pyarrow.string()), ("chosen", image), ("rejected", image),
            ("margin", pyarrow.float64()), ("votes", pyarrow.int64()),
        ]
    )  # fmt: skip
    table = pyarrow.Table.from_pylist(pairs, schema)
    with writing(out), replacing(out) as temporary, temporary.open("wb") as file:
        parquet.write_table(table, file)
