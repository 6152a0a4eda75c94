import sys
from types import ModuleType

import pytest

from zoo import registry
from zoo.registry import Entry


@pytest.fixture
def register(monkeypatch):
    """Replaces what is installed by the classes that a test registers."""
    module = ModuleType("zoo_fakes")
    monkeypatch.setitem(sys.modules, "zoo_fakes", module)
    found = []

    def add(kind, name, cls, package="zoo-fakes"):
        setattr(module, cls.__name__, cls)
        found.append(Entry(kind, name, f"zoo_fakes:{cls.__name__}", package, "1.0"))
        return cls

    monkeypatch.setattr(
        registry, "entries", lambda kind: tuple(entry for entry in found if entry.kind == kind)
    )
    return add
