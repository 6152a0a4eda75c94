"""The page of a comparison: what was asked, what came of it, and how far the numbers carry."""

from pathlib import Path

from zoo.compare.page_images import images
from zoo.compare.page_plots import monitors, scores
from zoo.compare.page_tables import endings, verdict
from zoo.compare.page_texts import contenders, machine, question, trouble
from zoo.compare.results import Comparison, as_json
from zoo.report import html, markdown
from zoo.report.page import Page
from zoo.storage import files

HTML, MARKDOWN, RESULTS = "report.html", "report.md", "results.json"
"""In a comparison's folder."""


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Writes `report.html`; the same with its pictures beside it as `report.md`; `results.json`.

    The same runs give the same bytes.

    Returns:
        The HTML file.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = page(comparison)
    html.write(whole, folder / HTML)
    markdown.write(whole, folder / MARKDOWN)
    files.write(folder / RESULTS, as_json(comparison))
    return folder / HTML


def page(comparison: Comparison) -> Page:
    """All that the comparison's runs tell; what is missing is said where it would be."""
    return Page(
        f"Comparison: {comparison.name}",
        comparison.about,
        comparison.command,
        (
            question(comparison),
            verdict(comparison),
            scores(comparison),
            endings(comparison),
            monitors(comparison),
            images(comparison),
            contenders(comparison),
            trouble(comparison),
            machine(comparison),
        ),
    )
