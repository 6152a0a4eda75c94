"""Prompts of a file on the web, served on this machine: fetched once, and errors in one line."""

from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from tests.http_server import answering
from zoo.data.prompts import load
from zoo.prompt import PromptError
from zoo.storage.files import CacheError


class Web:
    """What is served by path, and what was asked for."""

    def __init__(self):
        self.address = ""
        self.bodies = {}
        self.asked = []


@contextmanager
def serving():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            web.asked.append(self.path)
            body = web.bodies.get(self.path)
            cut_short = body is not None and body.startswith(b"cut short")
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"") + 100 * cut_short))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *arguments):
            pass

    web = Web()
    with answering(Handler) as web.address:
        yield web


@pytest.fixture
def web(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serving() as made:
        yield made


def test_a_file_is_fetched_once_and_read_as_a_local_one(web):
    web.bodies["/v1/train.txt"] = "a cat\n\n  a dog \n".encode("utf-8-sig")
    for _ in range(2):
        assert [p.text for p in load(f"{web.address}/v1/train.txt")] == ["a cat", "a dog"]
    assert web.asked == ["/v1/train.txt"]


def test_columns_and_metadata_are_read(web):
    web.bodies["/a.jsonl"] = b'{"caption": "two cats", "tag": "counting"}\n'
    (prompt,) = load(f"{web.address}/a.jsonl?column=caption")
    assert prompt.text == "two cats"
    assert prompt.metadata == {"tag": "counting"}


def test_files_of_one_name_are_kept_apart(web):
    web.bodies |= {"/a/train.txt": b"one", "/b/train.txt": b"other"}
    assert [load(f"{web.address}/{x}/train.txt")[0].text for x in "ab"] == ["one", "other"]


def test_a_file_that_was_not_fetched_whole_is_not_kept(web):
    web.bodies["/train.txt"] = b"cut short"
    with pytest.raises(PromptError, match=r"cannot be fetched \(.*name it; .* --tiny"):
        load(f"{web.address}/train.txt")
    web.bodies["/train.txt"] = b"whole"
    assert load(f"{web.address}/train.txt")[0].text == "whole"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/none.txt", r"none\.txt' cannot be fetched: status 404"),
        ("/page.html", r"page\.html' are not a \.txt, .* or \.parquet file; name one"),
        ("/train.txt?split=train", r"unknown option 'split'"),
        ("/bad.jsonl", r"/bad\.jsonl:1: not a JSON object"),
    ],
)
def test_what_cannot_be_read_is_said(web, path, said):
    web.bodies["/bad.jsonl"] = b"{"
    with pytest.raises(PromptError, match=said):
        load(web.address + path)


def test_no_network_is_said():
    with pytest.raises(PromptError, match=r"train\.txt' cannot be fetched .*--tiny"):
        load("http://127.0.0.1:9/train.txt")


def test_a_cache_that_cannot_be_written_is_said(web, monkeypatch, tmp_path):
    web.bodies["/train.txt"] = b"a cat"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(
        CacheError, match=r"/file/zoo/prompts/\w+ cannot be written.*XDG_CACHE_HOME="
    ):
        load(f"{web.address}/train.txt")
