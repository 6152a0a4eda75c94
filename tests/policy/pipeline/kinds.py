"""Tests of several kinds of pipelines, of which the fast suite tries one."""

import pytest


def first_fast(*names):
    """Parametrizes by `kind`: pipelines, named without the word; all but the first are slow."""
    first, *others = (_kind(name) for name in names)
    slow = [pytest.param(kind, marks=pytest.mark.slow) for kind in others]
    return pytest.mark.parametrize("kind", [first, *slow])


def _kind(name):
    cls, at, variant = name.partition("@")
    return f"{cls}Pipeline{at}{variant}"
