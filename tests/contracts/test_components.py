"""Every registered component can be described and says what it is."""

import inspect
import re

import pytest

from tests.contracts.components import ELSEWHERE, cls_of
from tests.runs import ROOT
from zoo.cli.listing import describe
from zoo.recipe.signature import INTERFACES, signature
from zoo.registry import KINDS, SINGULAR, entries

ALL = [entry for kind in KINDS for entry in entries(kind)]
EACH = pytest.mark.parametrize("entry", ALL, ids=[f"{e.kind}-{e.package}-{e.name}" for e in ALL])


def test_every_kind_has_a_component():
    assert {entry.kind for entry in ALL} == set(KINDS)


@pytest.mark.parametrize("path", ELSEWHERE.values())
def test_what_cannot_be_checked_here_inherits_the_checks_elsewhere(path):
    assert re.search(
        r"^class Test\w+\((Reward|Sampler|Solver|Tracker)Tests\):$", (ROOT / path).read_text(), re.M
    )


@EACH
def test_a_component_is_of_its_kind_and_complete(entry):
    cls = cls_of(entry)
    (interface,) = [base for base, kind in INTERFACES.items() if kind == entry.kind]
    assert issubclass(cls, interface)
    assert not inspect.isabstract(cls)
    signature(cls)


@EACH
def test_a_components_docstring_is_its_own_and_starts_with_a_sentence(entry):
    own = vars(cls_of(entry)).get("__doc__")
    assert own
    first = inspect.cleandoc(own).splitlines()[0]
    assert len(first.split()) >= 3


@EACH
def test_a_component_is_described(entry, capsys):
    describe(f"{entry.package}:{entry.name}")
    said = capsys.readouterr().out
    assert f"{entry.name}, {SINGULAR[entry.kind]} of {entry.package} {entry.version}" in said
    assert inspect.getdoc(cls_of(entry)).splitlines()[0] in said
    for name in signature(cls_of(entry)).options:
        assert name in said
