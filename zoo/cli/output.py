"""What `--out` names: a picture, or a folder of images; nothing is replaced unasked."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.cli.new_file import next_free, require_new
from zoo.errors import UserError, reason
from zoo.prompt import Prompt
from zoo.run import moving, pictures
from zoo.run.moving import Picture
from zoo.storage.files import or_null, why_unwritable, write_text
from zoo.training.standard_errors import tag_of

RESULTS, LINES, GRID, IMAGES = "results.json", "images.jsonl", "grid", "images"
_OF_ONE = (moving.STILL, moving.FILM, moving.MOVING)
_IMAGE = re.compile(rf"\d{{5,}}_\d{{2,}}({'|'.join(map(re.escape, _OF_ONE))})")
_GRIDS = (f"{GRID}{moving.STILL}", f"{GRID}{moving.MOVING}")
_OTHER_PICTURES = (".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


class ImageFolder:
    """A folder with `images/00012_03.png` (prompt, image), `images.jsonl` and `grid.png`.

    Videos are `.mp4` where PyAV is installed, else `.webp`, and so is their grid.
    """

    def __init__(
        self, path: Path, images_per_prompt: int, writer: pictures.Writer, fps: float
    ) -> None:
        self.path = path
        self._images_per_prompt = images_per_prompt
        self._writer, self._fps = writer, fps

    def file(self, key: int) -> str:
        """An image's file, in the folder, without its suffix.

        Its key is prompt * images_per_prompt + image.
        """
        prompt, image = divmod(key, self._images_per_prompt)
        return f"{IMAGES}/{prompt:05}_{image:02}"

    def put(self, images: Tensor, keys: Tensor) -> None:
        """Starts writing some, beside whatever goes on."""
        suffix = moving.STILL if images.ndim == 4 else _film()
        with writing(self.path):
            for image, key in zip(pictures.levels(images), keys.tolist(), strict=True):
                self._writer.put(image, self.path / f"{self.file(key)}{suffix}", self._fps)

    def finish(self) -> None:
        """Waits for all that were put."""
        with writing(self.path):
            self._writer.finish()

    def write(
        self,
        prompts: Sequence[Prompt],
        scores: Mapping[str, Tensor],
        grid: Picture,
        results: Mapping[str, Any] | None = None,
    ) -> None:
        """The lines, one an image in the order of keys; the grid; and the results, if any."""
        with writing(self.path):
            values = {name: [or_null(v) for v in score.tolist()] for name, score in scores.items()}
            lines = [
                json.dumps(self._line(key, prompts, {name: v[key] for name, v in values.items()}))
                for key in range(len(prompts) * self._images_per_prompt)
            ]
            _write(self.path / LINES, "".join(f"{line}\n" for line in lines))
            pictures.save(grid, self.path / f"{GRID}{pictures.suffix_of(grid)}")
            if results is not None:
                _write(self.path / RESULTS, json.dumps(results, indent=2) + "\n")

    def _line(
        self, key: int, prompts: Sequence[Prompt], scores: Mapping[str, float | None]
    ) -> dict[str, Any]:
        index, image = divmod(key, self._images_per_prompt)
        prompt, files = prompts[index], (f"{self.file(key)}{suffix}" for suffix in _OF_ONE)
        tag = tag_of(prompt)
        return {
            "prompt_index": index,
            "prompt": prompt.text,
            **({"inputs": [str(image) for image in prompt.inputs]} if prompt.inputs else {}),
            **({} if tag is None else {"tag": tag}),
            "image_index": image,
            # A broken image has none.
            "file": next((file for file in files if (self.path / file).is_file()), None),
            **({"scores": dict(scores)} if scores else {}),
        }


def _film() -> str:
    """How the names of single videos end."""
    return moving.FILM if moving.can_film() else moving.MOVING


def is_picture(out: Path) -> bool:
    """Whether `--out` names one picture."""
    return out.suffix.lower() in moving.SUFFIXES


def require_free(out: Path, *, overwrite: bool) -> None:
    """Refuses what cannot be written, or holds what was written before.

    Raises:
        UserError: with the fix.
    """
    if out.suffix.lower() in _OTHER_PICTURES:
        raise UserError(
            f"--out {out}: pictures are PNG files; name {out.with_suffix('.png')}, or a folder "
            "(videos: .webp, .gif or .mp4)"
        )
    if out.suffix.lower() == moving.FILM and not moving.can_film():
        raise UserError(
            f"--out {out} needs PyAV: {moving.GET_PYAV}; or name {out.with_suffix(moving.MOVING)}"
        )
    if out.is_dir() == is_picture(out) and out.exists():
        what = "a folder" if out.is_dir() else "a file"
        raise UserError(f"--out {out} is {what}; name a .png file or a folder")
    if why := why_unwritable(out.parent if is_picture(out) else out):
        raise UserError(f"--out {out} cannot be written: {why}")
    if is_picture(out):
        require_new(out, overwrite=overwrite)
    elif _earlier(out) and not overwrite:
        raise UserError(
            f"--out {out} holds {_earlier(out)[0].relative_to(out)} of an earlier command; "
            "name another folder, or replace it with --overwrite"
        )


def remove_earlier(out: Path) -> None:
    """Removes what was written to a folder before, and nothing else."""
    with writing(out):
        for path in _earlier(out):
            path.unlink()
        leftover = out / IMAGES
        if leftover.is_dir() and not any(leftover.iterdir()):
            shutil.rmtree(leftover)


def save_picture(picture: Picture, out: Path, *, overwrite: bool) -> Path:
    """One picture, whole or not at all; the file's suffix is of its kind, whatever `out` says.

    What has come there meanwhile stays, unless `overwrite`: then it is the next name that is free.
    """
    usual = pictures.suffix_of(picture)
    moves = out.suffix.lower() != moving.STILL
    path = out if moves == (usual == moving.MOVING) else out.with_suffix(usual)
    if not overwrite or path != out:
        path = next_free(path)
    with writing(path):
        pictures.save(picture, path)
    return path


def video_hint(picture: Picture) -> list[str]:
    """A line on how to have videos as other files, where there are some."""
    if not isinstance(picture, moving.Moving) or moving.can_film():
        return []
    return [f"videos are WebP files; to have MP4: {moving.GET_PYAV}"]


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Says in one line why something could not be written.

    Raises:
        UserError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {reason(error)}") from error


def _earlier(out: Path) -> list[Path]:
    images = out / IMAGES
    files = sorted(images.iterdir()) if images.is_dir() else []
    ours = [path for path in files if _IMAGE.fullmatch(path.name)]
    return [*(out / name for name in (RESULTS, LINES, *_GRIDS) if (out / name).exists()), *ours]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
