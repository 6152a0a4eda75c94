import math

import pytest

from zoo.report.panels import panels
from zoo.report.plots import Series


def drawn(num, **options):
    series = [Series(f"$ {i} _{{", [0, 1, 2], [0, i, math.nan], style=i) for i in range(num)]
    return panels(series, x_label="epoch", y_label="score", **options)


def ticks(axes):
    return axes.xaxis.get_tick_params()["labelbottom"]


@pytest.mark.parametrize(("num", "rows"), [(1, 1), (8, 3), (9, 3), (13, 5)])
def test_each_line_has_a_panel_with_its_name_and_all_others_behind_it(num, rows):
    drawing = drawn(num)
    shown = drawing.figure.axes
    assert [axes.get_title(loc="left") for axes in shown] == [f"$ {i} _{{" for i in range(num)]
    assert [len(axes.lines) for axes in shown] == [num] * num
    assert shown[0].get_subplotspec().get_gridspec().nrows == rows
    assert drawing.png()[:4] == b"\x89PNG"


def test_what_has_nothing_below_it_has_the_numbers_of_the_axis():
    assert [ticks(axes) for axes in drawn(7).figure.axes] == [False] * 4 + [True] * 3


def test_panels_share_their_axes_and_their_marks():
    shown = drawn(8, y_range=(0.25, 0.75), marks=[0.5, 0.6]).figure.axes
    assert {axes.get_ylim() for axes in shown} == {(0.25, 0.75)}
    assert {len(axes.lines) for axes in shown} == {10}


def test_the_same_numbers_give_the_same_bytes():
    assert drawn(8).png() == drawn(8).png()


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="nothing to draw for score"):
        drawn(1, marks=[1.0]) and panels(
            [Series("", [0], [math.nan])], x_label="epoch", y_label="score"
        )
