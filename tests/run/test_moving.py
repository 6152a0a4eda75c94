"""Pictures that move: combined frame by frame, written in three ways, and read again."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo.run import moving, pictures
from zoo.run.moving import Moving, combine
from zoo.storage.files import ReadError
from zoo.storage.json_data import DamagedFileError

COLOURS = ("red", "lime", "blue", "white", "black")


def flat(*colours: str, size: tuple[int, int] = (32, 16), fps: float = 10.0) -> Moving:
    """A frame of each colour."""
    return Moving(lambda i: Image.new("RGB", size, colours[i]), len(colours), size, fps)


def means(picture: Moving) -> np.ndarray:
    """The mean colour of each frame."""
    return np.stack([np.asarray(frame).mean((0, 1)) for frame in picture.frames()])


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_what_is_written_is_read_again(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "made" / f"x{suffix}"
    pictures.save(flat(*COLOURS), path)
    found = moving.read(path)
    assert isinstance(found, Moving)
    assert (found.num_frames, found.size, found.fps) == (5, (32, 16), 10.0)
    np.testing.assert_allclose(means(found), means(flat(*COLOURS)), atol=6)
    assert list(path.parent.iterdir()) == [path]
    with Image.open(path) as opened:
        assert opened.info["loop"] == 0


def test_a_file_that_stands_still_is_read_as_it_is(tmp_path: Path) -> None:
    image = Image.new("L", (4, 4), 7)
    image.save(tmp_path / "x.png")
    found = moving.read(tmp_path / "x.png")
    assert isinstance(found, Image.Image)
    assert found.tobytes() == image.convert("RGB").tobytes()


def test_fewer_frames_are_read_evenly_at_the_same_speed(tmp_path: Path) -> None:
    pictures.save(flat(*COLOURS), tmp_path / "x.webp")
    found = moving.read(tmp_path / "x.webp", most=3)
    assert isinstance(found, Moving)
    assert (found.num_frames, found.fps) == (3, 5.0)
    np.testing.assert_allclose(means(found), means(flat("red", "blue", "black")), atol=6)


def test_a_file_that_has_changed_is_read_anew(tmp_path: Path) -> None:
    for colours in (("red", "lime"), ("blue", "white")):
        pictures.save(flat(*colours), tmp_path / "x.webp")
        found = moving.read(tmp_path / "x.webp")
        assert isinstance(found, Moving)
        np.testing.assert_allclose(means(found), means(flat(*colours)), atol=6)


@pytest.mark.parametrize("name", ["x.webp", "x.png"])
def test_a_file_that_is_cut_short_anywhere_is_damaged(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    noise = Image.effect_noise((64, 64), 50)
    pictures.save(flat(*COLOURS) if name == "x.webp" else noise, path)
    whole = path.read_bytes()
    for length in (0, 1, 9, 30, 45, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError, match=f"{name} is damaged .*; delete it to do with"):
            moving.read(path)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    with pytest.raises(ReadError, match=r"x\.png cannot be read: Is a directory"):
        moving.read(tmp_path / "x.png")


def test_a_file_with_other_bytes_in_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    pictures.save(Image.new("RGB", (64, 64), "red"), path)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"IDAT", b"ID\x00T"))
    with pytest.raises(DamagedFileError, match=r"x\.png is damaged"):
        moving.read(path)


def beside(images: object) -> Image.Image:
    first, second = images  # type: ignore[misc]
    both = Image.new("RGB", (first.width + second.width, first.height))
    both.paste(first, (0, 0))
    both.paste(second, (first.width, 0))
    return both


def test_the_shorter_of_two_begins_again_and_one_that_stands_still_stays() -> None:
    three, two = flat("red", "lime", "blue"), flat("white", "black", fps=3.0)
    both = combine([three, two], beside)
    assert isinstance(both, Moving)
    assert (both.num_frames, both.size, both.fps) == (3, (64, 16), 10.0)
    rights = [frame.getpixel((40, 0))[0] for frame in both.frames()]
    assert rights == [255, 0, 255]
    still = Image.new("RGB", (32, 16), "red")
    mixed = combine([still, two], beside)
    assert isinstance(mixed, Moving)
    assert [frame.getpixel((0, 0)) for frame in mixed.frames()] == [(255, 0, 0)] * 2
    assert isinstance(combine([still, still], beside), Image.Image)


def test_before_and_after_move_side_by_side(tmp_path: Path) -> None:
    for name, colours in (("a", ("red", "lime")), ("b", ("blue", "white"))):
        pictures.save(flat(*colours), tmp_path / f"{name}.webp")
    both = pictures.side_by_side(tmp_path / "a.webp", tmp_path / "b.webp", titles=("a", "b"))
    assert isinstance(both, Moving)
    assert pictures.suffix_of(both) == ".webp"
    assert both.num_frames == 2
    assert both.width > 64


def test_a_picture_that_is_too_large_is_refused_with_the_fix(tmp_path: Path) -> None:
    large = flat("red", "blue", size=(8, 16384))
    with pytest.raises(OSError, match="at most 16,383 pixels a side, not 8 x 16,384; name a folde"):
        pictures.save(large, tmp_path / "x.webp")
    assert list(tmp_path.iterdir()) == []


def test_frames_are_drawn_one_at_a_time() -> None:
    drawn = []
    size = (16, 16)

    def draw(i: int) -> Image.Image:
        drawn.append(i)
        return Image.new("RGB", size, COLOURS[i])

    moving.write(Moving(draw, 5, size, 8.0), BytesIO(), ".webp")
    assert drawn == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("size", [(32, 16), (31, 17)])
def test_a_film_is_of_every_frame_at_its_speed_and_of_even_sides(size, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    assert moving.can_film()
    pictures.save(flat(*COLOURS, size=size, fps=12.5), tmp_path / "x.mp4")
    with av.open(str(tmp_path / "x.mp4")) as film:
        assert float(film.streams.video[0].average_rate) == 12.5
        assert film.streams.video[0].codec_context.pix_fmt == "yuv420p"
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert [frame.shape for frame in frames] == [(16 + 2 * (size[1] > 16), 32, 3)] * 5
    wanted = means(flat(*COLOURS))
    np.testing.assert_allclose([frame.mean((0, 1)) for frame in frames], wanted, atol=12)


def test_a_film_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("av")

    def unreadable(i: int) -> Image.Image:
        raise OSError("no frame")

    def unknown(i: int) -> Image.Image:
        raise ValueError("no such codec")

    for draw, said in (
        (unreadable, "written: no frame"),
        (unknown, "PyAV cannot write it: no such codec"),
    ):
        with pytest.raises(OSError, match=said):
            pictures.save(Moving(draw, 2, (16, 16), 8.0), tmp_path / "x.mp4")
    assert list(tmp_path.iterdir()) == []
