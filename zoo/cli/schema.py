"""`zoo schema`: what an editor checks and completes recipes by."""

import json
from pathlib import Path

import typer

from zoo.recipe.json_schema import recipe_schema


def schema(out: Path | None) -> None:
    """Prints the schema, or writes it and says what line makes an editor read it."""
    text = json.dumps(recipe_schema(), indent=2)
    if out is None:
        typer.echo(text)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(f"{text}\n", encoding="utf-8")
    typer.echo(f"wrote {out}; a recipe that starts with this line is checked by it:")
    typer.echo(f"# yaml-language-server: $schema={out.resolve().as_uri()}")
