"""Stored images, as errors name them."""

from pathlib import Path

from zoo.prompt import ImageBytes, ImageCell, ImageFile

PAIR = (ImageFile(Path("a.png")), ImageFile(Path("b.png")))


def test_stored_images_are_named_in_errors_and_can_be_keys():
    cell, held = ImageCell(Path("d/x.parquet"), "jpg_0", 4), ImageBytes("digit 3", b"abc")
    assert str(cell) == "d/x.parquet: row 5, column 'jpg_0'"
    assert (str(held), str(PAIR[0])) == ("digit 3", "a.png")
    assert len({cell, held, *PAIR}) == 4
    assert "abc" not in repr(held)
