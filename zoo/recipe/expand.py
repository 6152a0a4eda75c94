"""Paths that are read before anything is validated: of `extends`, of a suite, of `--lora`.

Options of a recipe that are paths are expanded where they are validated, by their types `Path` and
`zoo.storage.place.Place`; texts that are no paths are never touched.
"""

from zoo.recipe.errors import Origin, RecipeError
from zoo.storage.expand import expand


def expanded(written: str, origin: Origin, key: str) -> str:
    """The path that is written at `key`, with the home folder and variables filled in.

    Raises:
        RecipeError: a variable is not set, or there is no home folder.
    """
    try:
        return expand(written)
    except ValueError as error:
        raise RecipeError(f"{origin}: {key}: {error}") from None
