"""What a person sees: every epoch's line off a terminal, a bar and the evaluations on one."""

import io
import math

import pytest
from rich.console import Console

from zoo.run.console import Display, count_on_bar, line, short

EPOCH = {
    "epoch": 3, "step": 12, "reward": 0.51234, "reward/digit": 0.4, "loss": 1.0,
    "eval/digit": 0.61, "eval/judge": 0.7, "images_per_second": 1234.5,
}  # fmt: skip


def shown(terminal, records, warnings=()):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80, highlight=False)
    display = Display("a_run", 20, 0, console=console)
    for text in warnings:
        display.warn(text, again=False)
    for record in records:
        display.record(record)
    display.close()
    return file.getvalue()


def test_off_a_terminal_every_epoch_is_a_plain_line():
    text = shown(False, [{**EPOCH, "epoch": 0}, {"epoch": 1, "reward": 0.25}, EPOCH])
    assert "\x1b" not in text
    lines = text.splitlines()
    assert [row.split()[:2] for row in lines[:3]] == [["epoch", f"{i}/20"] for i in (0, 1, 3)]
    assert "reward 0.512" in lines[2]
    assert "judge 0.7" in lines[2]
    assert all(len(row) <= 80 for row in lines)


def test_on_a_terminal_evaluated_epochs_stand_above_a_bar():
    text = shown(True, [EPOCH, {"epoch": 4, "reward": 0.77}])
    assert text.count("epoch  3/20") == 1
    assert "epoch  4/20" not in text
    assert "a_run" in text
    assert "4/20" in text
    assert "reward 0.77" in text
    assert "\x1b[?25h" in text  # the cursor is back


def test_the_end_says_from_where_to_where_the_evaluation_went():
    first, last = {**EPOCH, "epoch": 0}, {**EPOCH, "eval/judge": 0.9}
    ends = shown(False, [first, last]).splitlines()[-2:]
    assert [row.split() for row in ends] == [
        ["eval/digit", "0.61", "->", "0.61"],
        ["eval/judge", "0.7", "->", "0.9"],
    ]
    assert "->" not in shown(False, [first])
    assert "->" not in shown(False, [{"epoch": 1, "reward": 0.5}])


@pytest.mark.parametrize("terminal", [True, False])
def test_numbers_that_are_not_finite_and_markup_are_shown_as_they_are(terminal):
    broken = {"epoch": 1, "reward": math.nan, "eval/judge": math.inf}
    text = shown(terminal, [broken, broken], ["[bold]x[/bold] [/nothing]"])
    assert "warning: [bold]x[/bold] [/nothing]" in text
    assert "reward nan" in text
    assert "judge inf" in text


def test_a_line_keeps_the_most_telling_numbers_that_fit():
    many = {**EPOCH, **{f"eval/extra_{i}": 0.123 for i in range(20)}}
    for width in (20, 40, 80, 200):
        text = line(many, 20, width)
        assert text.startswith("epoch  3/20  reward 0.512")
        assert len(text) <= max(width, len("epoch  3/20  reward 0.512"))
    assert line(EPOCH, 20, 80) == (
        "epoch  3/20  reward 0.512  1,230 images/s  eval: digit 0.61  judge 0.7"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.123456, "0.123"), (-12.34, "-12.3"), (999.4, "999"), (123456.7, "123,000"),
     (1e-9, "1e-09"), (math.nan, "nan"), (-math.inf, "-inf")],
)  # fmt: skip
def test_three_digits_are_enough(value, text):
    assert short(value) == text


@pytest.mark.parametrize("terminal", [True, False])
def test_images_are_counted_on_a_terminal_alone(terminal):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80, highlight=False)
    with count_on_bar("images", 40, console=console) as count:
        count(8)
        count(48)  # the last process's share may be larger
    assert ("40/40" in file.getvalue()) == terminal
    assert (file.getvalue() == "") != terminal
