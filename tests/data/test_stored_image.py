"""Reading stored images: sizes, kinds of files, and what is broken."""

from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from tests.pictures import encoded, flat, noise, pixels
from zoo.data.images import ImageReader, require_image
from zoo.prompt import ImageBytes, ImageCell, ImageFile, PromptError


def held(picture, kind="PNG", **options):
    return ImageBytes("held", encoded(picture, kind, **options))


def test_an_image_of_the_wanted_size_is_read_exactly():
    picture = noise(0, (10, 6))
    wanted = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255
    found = pixels(held(picture), 6, 10)
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)


def test_a_wide_image_is_cut_at_its_sides_and_a_tall_one_above_and_below():
    wide = Image.new("RGB", (40, 10), "white")
    wide.paste((255, 0, 0), (15, 0, 25, 10))
    assert torch.equal(
        pixels(held(wide), 10, 10),
        torch.tensor([1.0, 0, 0])[:, None, None] + 0.0 * torch.ones(3, 10, 10),
    )
    assert torch.equal(
        pixels(held(wide.rotate(90, expand=True)), 10, 10)[1:], torch.zeros(2, 10, 10)
    )


def test_a_larger_image_is_averaged_and_not_picked_from():
    # Columns of one pixel, black and white: without antialiasing they would stay so.
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    found = pixels(held(Image.fromarray(stripes)), 8, 8)
    assert float((found - 0.5).abs().max()) < 0.05


@pytest.mark.parametrize(
    ("picture", "wanted"),
    [
        (flat(51, mode="L"), [0.2, 0.2, 0.2]),
        (flat((255, 0, 51, 255), mode="RGBA"), [1, 0, 0.2]),
        (flat((255, 0, 51, 0), mode="RGBA"), [1, 1, 1]),
        (flat((0, 0), mode="LA"), [1, 1, 1]),
        (flat((255, 0, 0)).convert("P"), [1, 0, 0]),
        (flat(1, mode="1"), [1, 1, 1]),
        (Image.fromarray(np.full((8, 8), 13107, dtype=np.uint16)), [0.2, 0.2, 0.2]),
    ],
)
def test_every_kind_of_pixels_is_brought_to_three_channels(picture, wanted):
    found = pixels(held(picture), 8, 8)
    torch.testing.assert_close(found[:, 3, 3], torch.tensor(wanted).float(), rtol=0, atol=0.004)
    assert float(found.flatten(1).std(1).max()) == 0


def test_a_photo_is_turned_as_its_camera_was_held():
    picture = Image.new("RGB", (16, 16), "black")
    picture.paste("white", (0, 0, 16, 8))
    orientation = Image.Exif()
    orientation[0x0112] = 3  # upside down
    found = pixels(held(picture, "JPEG", exif=orientation, quality=95), 16, 16)
    assert float(found[:, :7].max()) < 0.1 < 0.9 < float(found[:, 9:].min())


@pytest.mark.parametrize("bytes_of", ["bytes", "struct"])
def test_a_cell_of_a_table_is_read_from_its_row_group(bytes_of, tmp_path):
    colours = [(10 * i, 0, 0) for i in range(7)]
    values = [encoded(flat(colour)) for colour in colours]
    if bytes_of == "struct":
        values = [{"bytes": value, "path": f"{i}.png"} for i, value in enumerate(values)]
    table = pyarrow.table({"caption": [str(i) for i in range(7)], "jpg_0": values})
    path = tmp_path / "pairs.parquet"
    parquet.write_table(table, path, row_group_size=3)
    for row in (0, 2, 3, 6):
        found = pixels(ImageCell(path, "jpg_0", row), 8, 8)
        assert float(found[0, 0, 0]) == pytest.approx(row * 10 / 255)


@pytest.fixture
def group_reads(monkeypatch):
    """Which groups of rows of a parquet file are read, and which of their columns."""
    reads, read = [], parquet.ParquetFile.iter_batches

    def counted(file, size, row_groups, columns):
        reads.extend((group, columns) for group in row_groups)
        return read(file, size, row_groups=row_groups, columns=columns)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    return reads


def test_a_group_of_rows_is_read_once_for_all_its_images(group_reads, tmp_path):
    path = tmp_path / "pairs.parquet"
    columns = {
        name: [encoded(flat((10 * row + i, 0, 0))) for row in range(6)]
        for i, name in enumerate(("jpg_0", "jpg_1"))
    }
    parquet.write_table(pyarrow.table(columns), path, row_group_size=2)
    cells = [ImageCell(path, f"jpg_{i}", row) for row in (5, 0, 4, 1) for i in (0, 1)]
    reader = ImageReader(cells)
    assert group_reads == []
    for cell in cells:
        level = float(reader.pixels(cell, 8, 8)[0, 0, 0])
        assert level == pytest.approx((10 * cell.row + int(cell.column[-1])) / 255)
    assert group_reads == [(2, ["jpg_0", "jpg_1"]), (0, ["jpg_0", "jpg_1"])]


def test_only_columns_that_are_asked_for_are_read(group_reads, tmp_path):
    path = tmp_path / "pairs.parquet"
    values = [encoded(flat("white"))] * 2
    parquet.write_table(pyarrow.table({"jpg_0": values, "jpg_1": values}), path)
    pixels(ImageCell(path, "jpg_1", 0), 8, 8)
    assert group_reads == [(0, ["jpg_1"])]


def test_a_row_that_its_file_does_not_have_is_said(tmp_path):
    path = tmp_path / "pairs.parquet"
    parquet.write_table(pyarrow.table({"jpg_0": [encoded(flat("white"))]}), path)
    with pytest.raises(PromptError, match=r"row 2, column 'jpg_0' cannot be read: "):
        pixels(ImageCell(path, "jpg_0", 1), 8, 8)


def test_a_cell_without_an_image_is_said(tmp_path):
    path = tmp_path / "pairs.parquet"
    parquet.write_table(pyarrow.table({"jpg_0": pyarrow.array([None, b"no"], "binary")}), path)
    with pytest.raises(PromptError, match=r"pairs.parquet: row 1, column 'jpg_0' holds no image"):
        pixels(ImageCell(path, "jpg_0", 0), 8, 8)
    with pytest.raises(PromptError, match=r"row 2, column 'jpg_0'' is no image that Pillow"):
        pixels(ImageCell(path, "jpg_0", 1), 8, 8)
    path.write_bytes(b"PAR1")
    with pytest.raises(PromptError, match=r"row 1, column 'jpg_0' cannot be read: "):
        pixels(ImageCell(path, "jpg_0", 0), 8, 8)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not an image", "is no image that Pillow can read"),
        (b"", "is no image that Pillow can read"),
        (encoded(noise(0, (64, 64)))[:3000], "cannot be read: .*truncated"),
        (encoded(noise(0, (64, 64)), "JPEG")[:900], "cannot be read: .*truncated"),
        (encoded(flat(0.5, mode="F"), "TIFF"), "has floating-point pixels"),
        (None, "does not exist"),
    ],
)
def test_a_broken_image_is_said_in_a_line_with_its_name(content, said, tmp_path):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PromptError, match=said) as caught:
        pixels(ImageFile(path), 8, 8)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_too_large_to_be_one_is_said(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(PromptError, match=r"'held' cannot be read: Image size .64 pixels. exceeds"):
        pixels(held(flat("white")), 8, 8)


def test_the_head_of_a_file_tells_whether_it_is_an_image(tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(encoded(flat("white")))
    bad.write_bytes(b"<html>")
    require_image(ImageFile(good))
    require_image(ImageCell(Path("not looked at"), "jpg_0", 0))
    with pytest.raises(PromptError, match=r"bad\.png' is no image"):
        require_image(ImageFile(bad))
