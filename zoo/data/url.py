"""A file of prompts on the web: `https://HOST/PATH/train.txt?column=prompt`.

It is fetched once, into the folder `prompts` of the cache, and read from there ever after: name an
address whose content never changes, one with a commit in it, say.
"""

import hashlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

from zoo.data import files
from zoo.errors import TRY_TINY, one_line
from zoo.prompt import Prompt, PromptError
from zoo.storage.files import cache_folder, filling_cache, replacing

SCHEMES = ("https://", "http://")

_SECONDS = 60.0


def load(address: str, /, *, reading: files.Reading = files.AS_USUAL) -> list[Prompt]:
    """All prompts of the file, in its order; its suffix says what it is, as of a local one.

    Raises:
        PromptError: in one line, why there are none.
    """
    if PurePosixPath(urlsplit(address).path).suffix.lower() not in files.SUFFIXES:
        raise PromptError(
            f"prompts '{address}' are not a {', '.join(files.SUFFIXES[:-1])} or "
            f"{files.SUFFIXES[-1]} file; name one"
        )

    def refuse(paths: list[str]) -> None:
        if paths:
            raise PromptError(
                f"prompts '{address}' name image files ({paths[0]!r}), which are not fetched from "
                "the web; have all of it here and name the file, or encode them in a .parquet"
            )

    return files.load(_fetch(address), address, refuse, reading=reading)


def _fetch(address: str) -> Path:
    """The cached file, fetched if it is not there yet.

    Raises:
        CacheError: it cannot be kept.
    """
    name = PurePosixPath(urlsplit(address).path).name
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    path = cache_folder("prompts") / digest / name
    if path.is_file():
        return path
    with (
        filling_cache(path.parent),
        replacing(path) as temporary,
        temporary.open("wb") as file,
    ):
        _download(address, file)
    return path


def _download(address: str, file: BinaryIO) -> None:
    import httpx

    try:
        with httpx.stream("GET", address, follow_redirects=True, timeout=_SECONDS) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                file.write(chunk)
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        raise PromptError(f"prompts '{address}' cannot be fetched: status {status}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PromptError(
            f"prompts '{address}' cannot be fetched ({one_line(error)}); fetch the file where "
            f"there is network and name it{TRY_TINY}"
        ) from None
