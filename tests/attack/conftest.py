import traceback

import diffusers
import pytest
import transformers
from huggingface_hub import constants

from tests.attack.cases import HangError, limited
from tests.cli.conftest import trained, zoo_here

__all__ = ["trained", "zoo_here"]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def fault_of(zoo_here):
    """Runs the command; what is wrong with how it ended, or nothing."""
    # The command asks these to be quiet before they are imported, which they are by now.
    levels = {
        library: library.get_verbosity()
        for library in (diffusers.utils.logging, transformers.utils.logging)
    }
    for library in levels:
        library.set_verbosity_error()

    def run(*arguments, seconds=20):
        try:
            with limited(seconds):
                ended = zoo_here(*arguments)
        except HangError as error:
            frames = [
                f"{each.name}:{each.lineno}" for each in traceback.extract_tb(error.__traceback__)
            ]
            return f"hangs: {error}: {' '.join(frames[3:])}"
        said = [*ended.lines, *ended.out.splitlines()]
        if ended.code not in (0, 2):
            return f"code {ended.code}: {ended.err[:300]}"
        if any("Traceback" in line or "--debug" in line for line in said):
            return f"a traceback: {ended.err[:300]}"
        if not all(line.isprintable() for line in said):
            return f"unprintable: {ended.err[:300]!r}"
        other = [line for line in ended.lines if not line.startswith(("error: ", "warning: "))]
        if other:
            return f"says what is no error: {other[0][:300]}"
        if ended.code and not ended.lines:
            return "says nothing"
        return ""

    yield run
    for library, level in levels.items():
        library.set_verbosity(level)
