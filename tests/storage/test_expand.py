"""What is filled in of a path as a person writes it, and what never is."""

import pytest

from zoo.storage.expand import expand


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.setenv("V_2", "new")
    monkeypatch.setenv("MONEY", "$DATA/~")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("NONE", raising=False)


def test_the_home_folder_is_filled_in():
    assert expand("~/a.txt") == "/home/ann/a.txt"
    assert expand("~") == "/home/ann"


def test_variables_are_filled_in_once():
    assert expand("$DATA/a.txt?column=b") == "/data/a.txt?column=b"
    assert expand("$DATA") == "/data"
    assert expand("x/$V_2/y") == "x/new/y"
    assert expand("x/$V_2") == "x/new"
    assert expand("${DATA}/v${V_2}.py:score") == "/data/vnew.py:score"
    assert expand("${MONEY}/b") == "$DATA/~/b"


@pytest.mark.parametrize(
    "written",
    [
        "a/~/b", "~ann/x", "a~", "costs$DATA/x", "$DATA.txt", "$5/x", "$$", "a$", "${}", "${a b}",
        "hub:ann/cats?split=train", "stabilityai/stable-diffusion-3.5-medium", "%24DATA/x",
    ],
)  # fmt: skip
def test_all_else_stays_as_it_is(written):
    assert expand(written) == written


@pytest.mark.parametrize("written", ["$NONE/x", "a/${NONE}", "$NONE", "$EMPTY/x"])
def test_a_variable_that_is_not_set_is_refused_with_the_fix(written):
    name = "EMPTY" if "EMPTY" in written else "NONE"
    with pytest.raises(ValueError, match=rf"variable {name} of .* export {name}=\.\.\. first, or"):
        expand(written)


def test_without_a_home_folder_the_line_says_so(monkeypatch):
    def none(cls):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", classmethod(none))
    with pytest.raises(ValueError, match=r"no home folder for the ~ of '~/x'; export HOME=\.\.\."):
        expand("~/x")
