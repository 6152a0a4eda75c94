"""The type of options that are paths or sources: see `expand`."""

from typing import Annotated

from annotated_types import MinLen
from pydantic import AfterValidator

from zoo.storage.expand import expand

Place = Annotated[str, MinLen(1), AfterValidator(expand)]
"""An option that names a file, a folder or what else can be read: a text that is expanded.

Where a recipe is read; not where a component is constructed in Python.
"""
