"""Data sets and models of the Hugging Face Hub on this machine: what fetching asks for."""

import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlparse

from huggingface_hub import constants

from tests.http_server import answering

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What is on it: each repository's files by path, and how others are refused."""

    def __init__(self):
        self.repos = {}
        self.refused = {}
        self.requests = []

    def respond(self, path):
        """Status, headers and body of a request."""
        parts = [unquote(part) for part in urlparse(path).path.strip("/").split("/")]
        parts = parts[1:] if parts[0] == "api" else parts
        # The files of models have addresses without a kind.
        parts = parts if parts[0] in ("datasets", "models") else ["models", *parts]
        repo, what, revision = "/".join(parts[1:3]), parts[3], parts[4]
        if repo in self.refused:
            status, code = self.refused[repo]
            return status, {"X-Error-Code": code}, b"{}"
        if repo not in self.repos:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if revision not in ("main", "v1", COMMIT):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        files = self.repos[repo]
        if what == "revision":
            return 200, {}, json.dumps({"id": repo, "sha": COMMIT}).encode()
        if what == "tree":
            listed = [
                {"type": "file", "path": name, "size": len(body), "oid": _oid(body)}
                for name, body in files.items()
            ]
            return 200, {}, json.dumps(listed).encode()
        body = files["/".join(parts[5:])]
        return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{_oid(body)}"'}, body


def _oid(body):
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()


@contextmanager
def serving(hub):
    """The address of a server that answers for the hub."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            hub.requests.append(self.path)
            status, headers, body = hub.respond(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args):
            """Says nothing."""

    with answering(Handler) as address:
        yield address


@contextmanager
def in_place_of_the_hub(hub, monkeypatch, cache):
    """Inside, huggingface_hub takes this one for the real one, with a cache of its own."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    with serving(hub) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE",
            f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        )  # fmt: skip
        yield
