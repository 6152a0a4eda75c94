"""An environment that zoo is not installed in."""

import os
import sys
import venv
from pathlib import Path

import numpy

ROOT = Path(__file__).resolve().parents[2]

REWARDS = {
    "brightness": "Brightness",
    "spread": "Spread",
    "faulty": "Faulty",
    "broken": "Broken",
    "hanging": "Hanging",
    "wrong": "Wrong",
    "positional": "Positional",
    "absent": "Absent",
    "no_reward": "Crop",
}


def make_environment(folder: Path, *, worker: bool = True) -> str:
    """A virtual environment with NumPy, the worker and a plugin; its interpreter."""
    venv.create(folder, symlinks=True, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    package = Path(numpy.__file__).parent
    for name in ("numpy", "numpy.libs"):
        if (package.parent / name).is_dir():
            os.symlink(package.parent / name, site / name)
    if worker:
        os.symlink(ROOT / "plugins/zoo-reward-worker/zoo_reward_worker", site / "zoo_reward_worker")
    os.symlink(ROOT / "tests/foreign/rewards.py", site / "foreign_rewards.py")
    info = site / "foreign_rewards-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign-rewards\nVersion: 1.5\n")
    points = "".join(f"{name} = foreign_rewards:{cls}\n" for name, cls in REWARDS.items())
    (info / "entry_points.txt").write_text(f"[zoo.rewards]\n{points}")
    return str(folder / "bin" / "python")
