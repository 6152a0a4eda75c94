"""Suites: what `zoo compare` is to compare.

A contender is a recipe of its own: a fragment merged over the suite's base recipe, or over the one
that it `extends`, as recipes extend each other; then what is `common` to all; then the seed and the
budget. Contenders are compared by their evaluations, so these must be the same.
"""

from zoo.suite.model import Budget, Entry, Loaded, Suite
from zoo.suite.read import MANY_EPOCHS, load_suite

__all__ = ["MANY_EPOCHS", "Budget", "Entry", "Loaded", "Suite", "load_suite"]
