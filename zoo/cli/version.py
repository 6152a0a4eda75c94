"""Which zoo this is (`--version`), and which plugins are installed beside it."""

import subprocess
from pathlib import Path

import zoo
from zoo import registry
from zoo.terminal import say

_PACKAGE = Path(zoo.__file__).parent


def print_version() -> None:
    """A line for zoo with its commit, then one for each package that registers something."""
    commit = _commit()
    say(f"zoo {zoo.__version__}{f' (commit {commit})' if commit else ''}")
    entries = [entry for kind in registry.KINDS for entry in registry.entries(kind)]
    others = {(e.package, e.version): None for e in entries if e.package != "diffusion-rl-zoo"}
    for package, version in sorted(others):
        say(f"{package} {version}".rstrip())


def _commit() -> str:
    """Of the wheel or of the checkout; empty where neither knows."""
    written = _PACKAGE / "assets" / "commit.txt"
    if written.is_file():
        return written.read_text(encoding="utf-8").strip()
    if not (_PACKAGE.parent / ".git").exists():
        return ""
    try:
        described = subprocess.run(
            ["git", "-C", _PACKAGE.parent, "describe", "--always", "--dirty", "--abbrev=10"],
            capture_output=True, text=True, check=False, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return described.stdout.strip()
