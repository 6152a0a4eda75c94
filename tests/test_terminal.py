"""The terminal shows what is printed."""

import io
import os
import sys

import pytest
from rich.table import Table
from rich.text import Text

from zoo.terminal import Terminal, say


def test_a_line_is_one_line(capsys):
    say("a\nb", "c\x1b[2J")
    say("d", err=True)
    said = capsys.readouterr()
    assert said.out == "a\\nb\nc\\x1b[2J\n"
    assert said.err == "d\n"


def test_tables_and_texts_are_shown_and_styles_are_kept(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    table = Table(box=None)
    table.add_column("name")
    table.add_row("[bold]x[/nope]\x1b[2J :cat:")
    terminal = Terminal()
    terminal.print(table)
    terminal.print(Text("bold\x1b]0;title\x07", "bold"))
    said = out.getvalue()
    assert "[bold]x[/nope]\\x1b[2J :cat:" in said
    assert "\x1b[1mbold\\x1b]0;title" in said
    assert "\x1b[2J" not in said
    assert "\x07" not in said


def wide_table():
    table = Table(box=None)
    for cell in ("x" * 150, "y" * 150):
        table.add_column(cell)
    table.add_row("one cell", "z" * 300)
    return table


@pytest.mark.parametrize("columns", [None, "", "0", "80"])
def test_a_pipe_cuts_no_cell_and_a_narrow_terminal_does(columns, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    Terminal().print(wide_table())
    assert ("z" * 300 in out.getvalue()) == (columns != "80")


def test_a_terminal_that_does_not_know_its_width_is_asked(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("COLUMNS", "0")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: os.terminal_size((70, 20)))
    terminal = Terminal()
    assert terminal.is_terminal
    assert terminal.width == 70
