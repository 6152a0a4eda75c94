"""`zoo env create`: a Python environment for a reward that cannot share zoo's."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from zoo.errors import UserError
from zoo.terminal import Terminal

LOCK = "requirements.lock"
"""The file in a plugin's package that pins everything it runs with."""

_GROUP = "zoo.rewards"


def create(plugin: str, out: Path | None, python: str | None) -> None:
    """Makes the environment from the plugin's own lock, and says how a recipe names its rewards.

    `plugin` is what pip can install: a folder, a name, a wheel. The environment is whole when this
    returns; one that fails on the way is removed.

    Raises:
        UserError: a step failed; what it said, and the fix.
    """
    console = Terminal(soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="zoo_env_") as temporary:
        folder = Path(temporary)
        wheel = _wheel(plugin, folder / "plugin")
        lock = _lock(wheel, folder)
        worker = _wheel(_worker(), folder / "worker")
        target = out or Path("envs") / wheel.name.split("-")[0].replace("_", "-")
        if os.path.lexists(target):
            raise UserError(
                f"'{target}' exists already; remove it to make it anew, or name another: --out DIR"
            )
        try:
            _fill(target, python or sys.executable, lock, [worker, wheel], console)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        names = _rewards(wheel)
    interpreter = target / "bin" / "python"
    console.print(f"made {target}; a recipe names its rewards so:")
    for name in names:
        console.print(f"  {{name: {name}, isolate: {{python: {interpreter}}}}}")


def _fill(target: Path, python: str, lock: Path, wheels: list[Path], console: Terminal) -> None:
    console.print(f"making {target} with {python}")
    _run([python, "-m", "venv", str(target)], "a virtual environment cannot be made")
    pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    count = sum("==" in line for line in lock.read_text(encoding="utf-8").splitlines())
    console.print(f"installing the {count} packages that its {LOCK} pins")
    _run([*pip, "--requirement", str(lock)], f"its {LOCK} cannot be installed")
    console.print("installing the plugin and the worker")
    # Without their dependencies: the lock has them, and is what was tested.
    _run([*pip, "--no-deps", *map(str, wheels)], "the plugin cannot be installed")
    for name in _rewards(wheels[-1]):
        command = [str(target / "bin" / "python"), "-I", "-m", "zoo_reward_worker", name]
        _run([*command, "--describe"], f"its reward '{name}' cannot be used")


def _wheel(plugin: str, folder: Path) -> Path:
    if not os.path.exists(plugin) and ("/" in plugin or plugin.endswith(".whl")):
        raise UserError(f"there is no plugin '{plugin}'; the working directory is {Path.cwd()}")
    source = plugin
    if os.path.isdir(plugin):
        # Built in a copy: pip would leave folders behind, and take what lies in old ones.
        source = str(folder / "source")
        shutil.copytree(plugin, source, ignore=shutil.ignore_patterns("build", "*.egg-info", ".*"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    _run([*pip, "--wheel-dir", str(folder), source], f"the plugin '{plugin}' cannot be built")
    return next(folder.glob("*.whl"))


def _lock(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        locks = [name for name in archive.namelist() if name.rpartition("/")[2] == LOCK]
        if len(locks) != 1:
            raise UserError(
                f"the plugin {wheel.name} has {len(locks) or 'no'} {LOCK} in its package; one is "
                "needed: write it with `pip freeze` and list it in [tool.setuptools.package-data]"
            )
        return Path(archive.extract(locks[0], folder))


def _rewards(wheel: Path) -> list[str]:
    """The rewards that a plugin registers."""
    with zipfile.ZipFile(wheel) as archive:
        files = [name for name in archive.namelist() if name.endswith("/entry_points.txt")]
        points = ConfigParser(delimiters=("=",))
        points.read_string(archive.read(files[0]).decode() if files else "")
    if not points.has_section(_GROUP) or not points.options(_GROUP):
        raise UserError(f"the plugin {wheel.name} registers nothing under '{_GROUP}'")
    return list(points[_GROUP])


def _worker() -> str:
    """What pip installs zoo-reward-worker from: the folder that it is here, or its version."""
    here = metadata.distribution("zoo-reward-worker")
    direct = json.loads(here.read_text("direct_url.json") or "{}")
    source = urlsplit(direct.get("url", ""))
    if source.scheme == "file" and Path(unquote(source.path)).exists():
        return unquote(source.path)
    return f"zoo-reward-worker=={here.version}"


def _run(command: list[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"{what}: {command[0]}: {error.strerror}") from error
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()] or lines[-1:]
        raise UserError(f"{what}: {'; '.join(errors[:3]) or 'it says nothing'}")
