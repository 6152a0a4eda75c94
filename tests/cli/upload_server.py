"""A model hub on this machine that takes uploads: what huggingface_hub asks for without Xet."""

import base64
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.http_server import answering


class Uploads:
    """What was uploaded: each model's files by path; `refused` is an answer to all instead."""

    def __init__(self):
        self.files = {}
        self.private = {}
        self.authorized = set()
        self.refused = None
        self.objects = {}

    def post(self, path, body, address):
        """The answer to a POST: status and JSON."""
        if self.refused:
            return self.refused
        parts = path.partition("?")[0].strip("/").split("/")
        if parts == ["api", "repos", "create"]:
            return self._create(json.loads(body), address)
        if parts == ["api", "validate-yaml"]:
            return 200, {"errors": [], "warnings": []}
        if parts[-1] == "batch":
            return self._batch(json.loads(body), address)
        if parts[4:] == ["preupload", "main"]:
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return 200, {"files": modes}
        assert parts[4:] == ["commit", "main"]
        return self._commit("/".join(parts[2:4]), body, address)

    def _create(self, wanted, address):
        repo = f"{wanted['organization']}/{wanted['name']}"
        there = repo in self.files
        self.files.setdefault(repo, {})
        self.private.setdefault(repo, wanted.get("visibility") == "private")
        return (409 if there else 200), {"url": f"{address}/{repo}"}

    def _batch(self, wanted, address):
        uploads = [
            {**each, "actions": {"upload": {"href": f"{address}/objects/{each['oid']}"}}}
            for each in wanted["objects"]
        ]
        return 200, {"transfer": "basic", "objects": uploads}

    def _commit(self, repo, body, address):
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.files[repo][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[repo][value["path"]] = self.objects[value["oid"]]
        return 200, {"commitUrl": f"{address}/{repo}/commit/abc", "commitOid": "abc"}


@contextmanager
def taking(uploads):
    """The address of a server that takes uploads."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            uploads.authorized.add(self.headers.get("Authorization"))
            address = f"http://127.0.0.1:{self.server.server_port}"
            self._answer(*uploads.post(self.path, self._body(), address))

        def do_PUT(self):
            uploads.objects[self.path.rpartition("/")[2]] = self._body()
            self._answer(200, {})

        def do_GET(self):
            repo = self.path.removeprefix("/api/models/").partition("?")[0]
            if repo not in uploads.files:
                return self._answer(404, {})
            return self._answer(200, {"id": repo, "private": uploads.private[repo]})

        def _body(self):
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers["Content-Length"]))
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def _answer(self, status, said):
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            """Says nothing."""

    with answering(Handler) as address:
        yield address
