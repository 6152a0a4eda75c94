"""The jinja templates that pages are written by: `assets/report/page.html` and `page.md`."""

from collections.abc import Callable

import jinja2

from zoo.errors import visible_lines

FOLDER = "assets/report"


def environment(*, autoescape: bool, **filters: Callable[[str], str]) -> jinja2.Environment:
    """Templates with these filters, which ask `kind(block)` for the class of a block.

    Tags take no line of their own; a name that nothing has is an error.
    """
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("zoo", FOLDER),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    templates.filters |= filters
    templates.globals["kind"] = lambda block: type(block).__name__
    return templates


def _visible(value: object) -> object:
    """What a template writes, made visible; markup is of this package and stays as it is."""
    return visible_lines(value) if type(value) is str else value
