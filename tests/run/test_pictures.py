"""Grids and comparisons, pixel by pixel where it matters."""

import os
import stat
from pathlib import Path

import pytest
import torch
from PIL import Image

from zoo.run import pictures
from zoo.run.moving import Moving, read


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


def test_a_picture_is_on_the_disk_before_its_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, fsync, replace = [], os.fsync, Path.replace

    def flushed(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def replaced(self: Path, target: Path) -> Path:
        done.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", replaced)
    pictures.save(pictures.grid(images(1), 1), tmp_path / "a.png")
    assert done == ["file", "name", "folder"]


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
    samples = pictures.levels(images(5))
    with pictures.Writer() as writer:
        for i, image in enumerate(samples):
            writer.put(image, tmp_path / "made" / f"{i}.png", 1.0)
        writer.finish()
    assert len(list((tmp_path / "made").iterdir())) == 5
    for i, image in enumerate(samples):
        with Image.open(tmp_path / "made" / f"{i}.png") as found:
            pixels = torch.tensor(list(found.tobytes())).reshape(8, 8, 3)
        assert torch.equal(pixels, image.permute(1, 2, 0).long())


def test_what_a_writer_cannot_write_is_raised_and_the_others_are_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    samples = pictures.levels(images(2))

    def write() -> None:
        with pictures.Writer() as writer:
            writer.put(samples[1], tmp_path / "y.png", 1.0)
            writer.put(samples[0], tmp_path / "file" / "x.png", 1.0)
            writer.finish()

    with pytest.raises(OSError, match="file"):
        write()
    assert (tmp_path / "y.png").is_file()


def test_levels_are_bytes_in_range_of_images_and_of_videos() -> None:
    video = torch.stack([torch.full((1, 3, 2, 2), v) for v in (2.0, 0.5, -1.0)], dim=1)
    found = pictures.levels(video)
    assert found.dtype is torch.uint8
    assert found[0, :, 0, 0, 0].tolist() == [255, 128, 0]
    assert torch.equal(pictures.levels(video[:, 1]), found[:, 1])


def videos(count: int, height: int = 8, width: int = 8, frames: int = 3) -> torch.Tensor:
    return images(count * frames, height, width).unflatten(0, (count, frames))


def test_a_sheet_shows_images_as_they_are_and_videos_small() -> None:
    large = images(1, 400, 200)
    assert torch.equal(pictures.thumbnails(large), pictures.levels(large))
    assert pictures.thumbnails(videos(2, 400, 200)).shape == (2, 3, 3, 160, 80)
    assert pictures.thumbnails(videos(2, 40, 20)).shape == (2, 3, 3, 40, 20)
    assert pictures.thumbnails(videos(2, 40, 20)[:0]).shape == (0, 3, 3, 40, 20)
    assert pictures.thumbnails(videos(2, 400, 200)[:0], 80).shape == (0, 3, 3, 80, 40)


def test_a_small_video_is_its_mean_and_not_picked_from() -> None:
    stripes = torch.zeros(1, 2, 3, 320, 320)
    stripes[..., ::2] = 1.0
    assert pictures.thumbnails(stripes).unique().tolist() == [128]


def test_a_sheet_of_videos_is_that_of_its_frames_in_turn() -> None:
    samples = videos(5)
    sheet = pictures.sheet(samples, 3, 8.0)
    assert isinstance(sheet, Moving)
    assert (sheet.num_frames, sheet.fps, sheet.size) == (3, 8.0, (4 + 3 * 68, 4 + 2 * 68))
    for i, frame in enumerate(sheet.frames()):
        assert frame.tobytes() == pictures.grid(samples[:, i], 3).tobytes()
    still = pictures.sheet(samples[:, 0], 3, 8.0)
    assert isinstance(still, Image.Image)


def test_bytes_make_the_same_grid_as_numbers() -> None:
    samples = images(3)
    assert pictures.grid(pictures.levels(samples), 2).tobytes() == pictures.grid(
        samples, 2
    ).tobytes()  # fmt: skip


def test_a_writer_writes_videos_and_holds_no_more_bytes_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = pictures.levels(videos(4, 16, 16))
    monkeypatch.setattr(pictures, "_MOST_WAITING", samples[0].nbytes)
    waiting = []
    with pictures.Writer() as writer:
        for i, video in enumerate(samples):
            writer.put(video, tmp_path / f"{i}.webp", 10.0)
            waiting.append(len(writer._waiting))
        writer.finish()
    assert max(waiting) <= 1
    for i in range(4):
        found = read(tmp_path / f"{i}.webp")
        assert isinstance(found, Moving)
        assert (found.num_frames, found.fps) == (3, 10.0)
