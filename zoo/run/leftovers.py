"""What killed writers have left in a run's folder: it goes when the run starts again.

Only temporary files of the names that a run writes, and only by who holds the run's lock.
"""

import re
from pathlib import Path

from zoo.run import checkpoint, evaluations, votes
from zoo.run.contents import CONTENTS
from zoo.run.folder import END, ENVIRONMENT, PROBES, PROMPT_LENGTHS, RECIPE
from zoo.run.model_record import CONTRACTS, MODEL
from zoo.run.tracker import BEFORE_AFTER, METRICS
from zoo.storage.files import find_leftovers

_NAMES = (RECIPE, ENVIRONMENT, PROBES, PROMPT_LENGTHS, END, CONTENTS, METRICS, MODEL, CONTRACTS)
_OWN = {
    "": re.compile("|".join(map(re.escape, _NAMES))),
    evaluations.FOLDER: evaluations.FILE,
    f"{votes.FOLDER}/{votes.IMAGES}": re.compile(r"[0-9a-f]{16}\.png"),
    evaluations.PICTURES: re.compile(
        rf"((epoch|inputs|parted|left)_\d{{6,}}|{BEFORE_AFTER})\.(png|webp)"
    ),
}
"""The files that a run replaces, by the folder in its own."""


def remove(run_dir: Path) -> None:
    """Removes them, and ends what was begun with checkpoints."""
    for folder, own in _OWN.items():
        for name, path in find_leftovers(run_dir / folder):
            if own.fullmatch(name):
                path.unlink()
    checkpoint.clean_up(run_dir)
