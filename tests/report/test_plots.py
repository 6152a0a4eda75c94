import math
from xml.etree import ElementTree

import pytest

from zoo.report.plots import COLOURS, Series, histograms, lines, tick


def drawn(*series, **options):
    return lines(series, x_label="epoch", y_label="score", **options)


def test_a_figure_is_a_whole_file_that_needs_no_other():
    svg = drawn(Series("a", [0, 1], [0.0, 1.0])).svg()
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("viewBox")
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    used = [element.get("{http://www.w3.org/1999/xlink}href") for element in root.iter()]
    assert {link[1:] for link in used if link} <= set(ids)
    assert b"metadata" not in svg


def test_a_figure_has_the_same_shape_on_a_page_as_in_its_file():
    drawing = drawn(*(Series(f"contender number {i}", [0, 1], [0, i], style=i) for i in range(9)))
    *_, width, height = map(float, ElementTree.fromstring(drawing.svg()).get("viewBox").split())
    # Rounded to whole pixels.
    assert drawing.size[0] / drawing.size[1] == pytest.approx(width / height, rel=0.01)


def test_the_same_numbers_give_the_same_bytes():
    a, b = (drawn(Series("a", [0, 1], [0.0, 1.0], (0, 1), (1, 2))) for _ in range(2))
    assert a.svg() == b.svg()
    assert a.png() == b.png()


def test_a_style_has_its_colour_in_every_figure():
    svg = drawn(Series("second", [0, 1], [0.0, 1.0], style=1)).svg().decode()
    assert COLOURS[1].lower() in svg
    assert COLOURS[0].lower() not in svg


def test_a_gap_and_a_single_point_are_drawn():
    assert drawn(Series("", [0, 1, 2], [0.5, math.nan, 0.7])).png()[:4] == b"\x89PNG"
    assert drawn(Series("", [3], [0.5], (0.4,), (0.6,))).png()[:4] == b"\x89PNG"


def test_names_with_dollars_and_underscores_are_plain_text():
    drawn(Series(r"$\frac{$", [0, 1], [0, 1])).svg()
    drawn(Series("_hidden", [0, 1], [0, 1])).svg()


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="nothing to draw for score"):
        drawn(Series("", [0], [math.nan]))
    with pytest.raises(ValueError, match="nothing to draw for fox"):
        histograms([("a", [math.nan])], x_label="fox")


def test_values_that_are_all_the_same_have_a_histogram():
    assert histograms([("a", [1.0, 1.0, math.nan]), ("b", [])], x_label="x").svg()


@pytest.mark.parametrize(
    ("value", "largest", "shown"),
    [(8000, 40000, "8k"), (2500, 2500, "2500"), (0, 40000, "0"), (2e7, 4e7, "20M"),
     (-0.5, 1, "\N{MINUS SIGN}0.5"), (1e-5, 1e-4, "1e\N{MINUS SIGN}05")],
)  # fmt: skip
def test_ticks_of_one_axis_have_one_unit(value, largest, shown):
    assert tick(value, largest) == shown


def test_a_legend_of_many_names_leaves_the_axes_their_height():
    def height(num):
        drawing = drawn(
            *(Series(f"contender number {i}", [0, 1], [0, i], style=i) for i in range(num))
        )
        drawing.svg()
        return drawing.figure.axes[0].get_window_extent().height

    assert height(9) == pytest.approx(height(1), rel=0.15)
