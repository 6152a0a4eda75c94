"""Tests; `checked` is what jaxtyping's hook checks zoo's annotations with under pytest."""

from beartype import BeartypeConf, beartype

# An int passes for a float, as PEP 484 has it and mypy takes it.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
