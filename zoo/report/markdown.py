"""A page as Markdown with its plots and pictures as files beside it, to be read on GitHub."""

import html
import itertools
import re
from pathlib import Path

from zoo.report.embed import WIDEST, sheet, shrink
from zoo.report.page import Figure, Page
from zoo.report.plots import Drawing
from zoo.report.templates import environment
from zoo.run.moving import MOVING, STILL, Picture
from zoo.run.pictures import save, suffix_of
from zoo.storage.files import write_text

_PLOTS, _PICTURES = "plots", "pictures"


def write(page: Page, path: Path) -> None:
    """The page as a file; its `plots` and `pictures` beside it are written anew."""
    files = _Files(path.parent)
    template = environment(autoescape=False, plain=escape, code=code, fence=fence)
    text = template.get_template("page.md").render(
        page=page,
        save_figure=files.save_figure,
        save_tiles=lambda tiles: files.save_picture(tiles.name, sheet(tiles)),
    )
    write_text(path, text)


def escape(text: str) -> str:
    """Shown as it is, in one line."""
    line = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~#$])", r"\\\1", line)


def code(text: str) -> str:
    """A span of code, whatever is in it."""
    ticks = _longest_ticks(text)
    mark, pad = "`" * (ticks + 1), " " if ticks else ""
    return f"{mark}{pad}{text}{pad}{mark}"


def fence(text: str) -> str:
    """The line above and below a block of code, whatever is in it."""
    return "`" * max(3, _longest_ticks(text) + 1)


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


class _Files:
    """What a page links to, in folders beside it that are emptied first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in (_PLOTS, _PICTURES):
            (folder / name).mkdir(exist_ok=True)
            for suffix in (STILL, MOVING):
                for old in (folder / name).glob(f"*{suffix}"):
                    old.unlink()

    def save_figure(self, figure: Figure) -> str:
        """Writes a plot or a picture; the path to link to."""
        if not isinstance(figure.content, Drawing):
            return self.save_picture(figure.name, shrink(figure.content, WIDEST))
        path = self._free(_PLOTS, figure.name, STILL)
        path.write_bytes(figure.content.png())
        return f"{_PLOTS}/{path.name}"

    def save_picture(self, name: str, picture: Picture) -> str:
        """Writes it; the path to link to."""
        path = self._free(_PICTURES, name, suffix_of(picture))
        save(picture, path)
        return f"{_PICTURES}/{path.name}"

    def _free(self, folder: str, name: str, suffix: str) -> Path:
        """A path that is not taken: two names may come out alike."""
        for i in itertools.count(1):
            path = self._folder / folder / f"{name}{'' if i == 1 else f'_{i}'}{suffix}"
            if not path.exists():
                break
        return path
