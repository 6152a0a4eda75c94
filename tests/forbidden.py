"""Files and folders that may not be read, also by root, whom no permission keeps from it."""

import errno
import io
import os

import pytest


@pytest.fixture
def forbid(monkeypatch):
    """Refuses to open or to list the paths that it is called with."""
    forbidden = set()

    def refusing(real):
        def reads(path, *given, **named):
            if not isinstance(path, int) and os.fspath(path) in forbidden:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
            return real(path, *given, **named)

        return reads

    # pathlib calls both by their modules.
    monkeypatch.setattr(io, "open", refusing(io.open))
    monkeypatch.setattr(os, "listdir", refusing(os.listdir))
    return lambda path: forbidden.add(str(path))
