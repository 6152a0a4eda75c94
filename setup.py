"""What pyproject.toml cannot say: recipes and suites travel in the wheel, and its commit."""

import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithRecipes(build_py):
    """Puts recipes/ and benchmarks/ beside the code, where `zoo.recipe.shipped` looks."""

    def run(self) -> None:
        """As setuptools does, then what is not beside the code."""
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib, "zoo")
        for folder in ("recipes", "benchmarks"):
            (package / folder).mkdir(exist_ok=True)
            for path in sorted((ROOT / folder).glob("*.yaml")):
                self.copy_file(str(path), str(package / folder / path.name))
        (package / "assets" / "commit.txt").write_text(f"{commit()}\n", encoding="utf-8")


def commit() -> str:
    """Of the tree that the wheel is built from; empty outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "-C", ROOT, "rev-parse", "--short=10", "HEAD"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError:
        return ""
    return found.stdout.strip()


setup(cmdclass={"build_py": BuildWithRecipes})
