"""Grids and comparisons, pixel by pixel where it matters."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from zoo.run import pictures


def images(count: int, height: int = 8, width: int = 8) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_small_images_are_enlarged_by_repeating_pixels_to_64() -> None:
    samples = images(5)
    sheet = pictures.grid(samples, 3)
    assert sheet.size == (4 + 3 * 68, 4 + 2 * 68)
    # The fourth image is the first of the second row; its pixel (row 2, column 5) is 8 x 8 large.
    expected = tuple((samples[3, :, 2, 5] * 255).round().int().tolist())
    for y, x in ((0, 0), (7, 7)):
        assert sheet.getpixel((4 + 5 * 8 + x, 4 + 68 + 2 * 8 + y)) == expected


def test_large_images_keep_their_size_and_a_scale_is_obeyed() -> None:
    assert pictures.grid(images(1, 100, 80), 1).size == (88, 108)
    assert pictures.grid(images(1, 100, 80), 1, scale=2).size == (168, 208)
    assert pictures.grid(images(1, 9, 20), 1).size == (8 + 20 * 8, 8 + 9 * 8)


def test_the_last_row_may_be_short_and_stays_white() -> None:
    sheet = pictures.grid(torch.zeros(3, 3, 64, 64), 2)
    assert sheet.getpixel((4 + 68 + 30, 4 + 68 + 30)) == (255, 255, 255)
    assert sheet.getpixel((4 + 30, 4 + 68 + 30)) == (0, 0, 0)


def test_values_out_of_range_are_clamped_and_nan_is_black() -> None:
    samples = torch.full((3, 3, 64, 64), 2.0)
    samples[1], samples[2] = -1.0, torch.nan
    sheet = pictures.grid(samples, 3)
    assert [sheet.getpixel((10 + 68 * i, 10))[0] for i in range(3)] == [255, 0, 0]


def test_labels_head_the_columns_and_are_cut_to_their_width() -> None:
    samples = torch.ones(2, 3, 64, 64)
    plain = pictures.grid(samples, 2)
    labelled = pictures.grid(samples, 2, labels=["a", "a very long label that cannot fit"])
    assert labelled.width == plain.width
    strip = labelled.crop((0, 0, labelled.width, labelled.height - plain.height)).convert("L")
    left, _, right, _ = strip.point(lambda value: 255 - value).getbbox() or pytest.fail("no text")
    assert left >= 4
    assert right <= labelled.width - 4


@pytest.mark.parametrize(
    ("count", "columns", "scale", "labels"),
    [(0, 1, None, None), (1, 0, None, None), (1, 1, 0, None), (2, 2, None, ["one"])],
)
def test_an_impossible_grid_is_refused(
    count: int, columns: int, scale: int | None, labels: list[str] | None
) -> None:
    with pytest.raises(ValueError, match=r"at least 1|one a column"):
        pictures.grid(images(count), columns, scale=scale, labels=labels)


def test_a_saved_picture_is_the_picture_and_nothing_else_is_left(tmp_path: Path) -> None:
    sheet = pictures.grid(images(4), 2)
    path = tmp_path / "images" / "a.png"
    pictures.save(sheet, path)
    pictures.save(sheet, path)
    with Image.open(path) as found:
        assert found.format == "PNG"
        assert found.tobytes() == sheet.tobytes()
    assert list(path.parent.iterdir()) == [path]


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    pictures.save(pictures.grid(images(1), 1), path)
    before = path.read_bytes()
    with pytest.raises(OSError, match="cannot write mode"):
        pictures.save(Image.new("HSV", (4, 4)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_before_and_after_stand_side_by_side_under_their_titles() -> None:
    before, after = Image.new("RGB", (200, 100), "red"), Image.new("RGB", (220, 120), "blue")
    both = pictures.before_after(before, after)
    top = both.height - 120
    assert top >= 14
    assert both.width > 420
    assert both.getpixel((0, top)) == (255, 0, 0)
    assert both.getpixel((both.width - 1, top)) == (0, 0, 255)
    for left in (0, both.width - 220):
        assert both.crop((left, 0, left + 200, top)).getextrema()[0][0] < 128


def test_two_files_pictures_stand_side_by_side(tmp_path: Path) -> None:
    sheet = pictures.grid(images(4), 2)
    for name in ("first", "second"):
        pictures.save(sheet, tmp_path / f"{name}.png")
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    assert pictures.side_by_side(first, second, titles=("then", "now")).width > 2 * sheet.width


def test_a_writer_writes_each_image_as_it_is(tmp_path: Path) -> None:
    samples = pictures.stills(images(5))
    with pictures.Writer() as writer:
        for i, image in enumerate(samples):
            writer.put(image, tmp_path / "made" / f"{i}.png")
        writer.finish()
    assert len(list((tmp_path / "made").iterdir())) == 5
    for i, image in enumerate(samples):
        with Image.open(tmp_path / "made" / f"{i}.png") as found:
            pixels = torch.tensor(list(found.tobytes())).reshape(8, 8, 3)
        assert torch.equal(pixels, image.permute(1, 2, 0).long())


def test_what_a_writer_cannot_write_is_raised_and_the_others_are_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    samples = pictures.stills(images(2))

    def write() -> None:
        with pictures.Writer() as writer:
            writer.put(samples[1], tmp_path / "y.png")
            writer.put(samples[0], tmp_path / "file" / "x.png")
            writer.finish()

    with pytest.raises(OSError, match="file"):
        write()
    assert (tmp_path / "y.png").is_file()


def test_stills_are_bytes_in_range_and_of_a_video_the_first_frame() -> None:
    video = torch.stack([torch.full((1, 3, 2, 2), v) for v in (2.0, 0.5)], dim=1)
    assert pictures.stills(video).unique().tolist() == [255]
    assert pictures.stills(video[:, 1]).unique().tolist() == [128]
    assert pictures.stills(torch.full((1, 3, 2, 2), -1.0)).unique().tolist() == [0]
