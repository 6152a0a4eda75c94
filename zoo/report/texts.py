"""Data as text to be read."""

import io


def yaml(data: object) -> str:
    """As a recipe would have it."""
    from ruamel.yaml import YAML

    out = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.width = 100
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.dump(data, out)
    return out.getvalue()
