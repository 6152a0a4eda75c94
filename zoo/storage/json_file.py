"""JSON files that are written whole or not at all."""

import json
import math
import os
from pathlib import Path


def write(path: Path, data: object, *, indent: int | None = 2) -> None:
    """Replaces the file. Numbers that are not finite become null."""
    temporary = path.with_name(f".{path.name}.tmp")
    text = json.dumps(_finite(data), indent=indent, allow_nan=False)
    temporary.write_text(f"{text}\n", encoding="utf-8")
    os.replace(temporary, path)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
