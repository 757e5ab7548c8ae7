"""A stand-in for the Hugging Face hub on loopback: what huggingface_hub asks for to upload a model, by plain LFS, and no more.

The client of 2.x takes xet whenever hf_xet is installed, whatever the server offers, unless HF_HUB_DISABLE_XET says no: see `environment`.
The same server is named as the proxy for every other host, so that `strays` lists what would have left the machine.
"""

import base64
import hashlib
import json
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

import yaml

LFS = {".bin", ".npz", ".onnx", ".png", ".pt2", ".safetensors"}  # of what the hub's own .gitattributes lists
TOKEN, READER = "hf_writes", "hf_reads"


@dataclass
class Repo:
    """One model: its files, which of them went by LFS, and the paths of each commit."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    commits: list[list[str]] = field(default_factory=list)

    def oid(self, path: str) -> str | None:
        """What the client compares its file with: the sha256 of a large file, git's sha1 of another."""
        content = self.files.get(path)
        if content is None:
            return None
        if path in self.large:
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    """The server, as a context manager.

    Attributes:
        repos: from `owner/name` to what it holds.
        asked: of each request, the method and the path.
        strays: requests for other hosts.
        faults: from a part of a path to the status that every request with it gets.
        plain: answer all with a page, as a server that is no hub does.
        private: what a model is made as where the client does not say.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.store: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.strays: list[str] = []
        self.faults: dict[str, int] = {}
        self.plain, self.private = False, False
        self.lock = threading.Lock()  # the client uploads in threads
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()

    def environment(self, home: Path) -> dict[str, str]:
        """What sends huggingface_hub here, with a token and a cache of its own, and nothing anywhere else."""
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), self.endpoint)
        hub = {"HF_ENDPOINT": self.endpoint, "HF_TOKEN": TOKEN, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        return {**proxies, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1", **hub}

    def status(self, method: str, path: str, data: bytes, token: str = "") -> int:
        """What a request gets, by a client that is not huggingface_hub."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(self.endpoint + path, data, {"Authorization": f"Bearer {token}"}, method=method)
        try:
            with opener.open(request) as found:
                return int(found.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_CONNECT(self) -> None:
        self.hub.strays.append(self.path)
        self.send_error(403)

    def do_GET(self) -> None:
        self._answer(b"")

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self._body())

    def do_PUT(self) -> None:
        self._answer(self._body())

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, content: dict[str, Any] | str, **headers: str) -> None:
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "text/html" if isinstance(content, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, status: int, said: str, **headers: str) -> None:
        self._send(status, {"error": said}, X_Error_Message=said, **headers)

    def _answer(self, body: bytes) -> None:
        path = self.path.partition("?")[0]
        if not path.startswith("/"):
            self.hub.strays.append(path)
            return self._refuse(403, "another host")
        words = path.strip("/").split("/")
        if words == ["api", "agent-harnesses"]:  # the client's telemetry, no part of an upload
            return self._refuse(404, "no such page")
        self.hub.asked.append(f"{self.command} {path}")
        if self.hub.plain:
            return self._send(200, "<html>It works!</html>")
        for part, status in self.hub.faults.items():
            if part in path:
                return self._refuse(status, f"broken {part}")
        if words[0] == "storage":  # signed addresses carry no token
            return self._store(words[1], body)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in (TOKEN, READER):
            return self._refuse(401, "Invalid username or password.")
        writes = token == TOKEN
        if path == "/api/repos/create":
            return self._create(json.loads(body), writes)
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        return self._of_repo(words, body, writes)

    def _create(self, asked: dict[str, Any], writes: bool) -> None:
        repo = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != "owner" or not writes:
            return self._refuse(403, f"You don't have the rights to create a model under the namespace {asked['organization']!r}")
        made = {"url": f"{self.hub.endpoint}/{repo}", "name": repo}
        if repo in self.hub.repos:
            return self._send(409, {"error": "You already created this model repo", **made})
        said = asked.get("visibility", asked.get("private"))  # the second is of clients before 2.0
        self.hub.repos[repo] = Repo(self.hub.private if said is None else said in ("private", True))
        return self._send(200, made)

    def _validate(self, content: str) -> None:
        try:
            yaml.safe_load(content.partition("---")[2].partition("---")[0])
        except yaml.YAMLError as error:
            return self._send(400, {"errors": [{"message": str(error)}], "warnings": []})
        return self._send(200, {"errors": [], "warnings": []})

    def _of_repo(self, words: list[str], body: bytes, writes: bool) -> None:
        """`/api/models/OWNER/NAME/...` and `/OWNER/NAME.git/info/lfs/objects/batch`."""
        name = "/".join(words[2:4]) if words[:2] == ["api", "models"] else "/".join(words[:2]).removesuffix(".git")
        repo, rest = self.hub.repos.get(name), words[4:] if words[0] == "api" else words[2:]
        if repo is None:
            return self._refuse(404, "Repository not found", X_Error_Code="RepoNotFound")
        if self.command == "GET" and rest in ([], ["revision", "main"]):
            return self._send(200, {"id": name, "modelId": name, "private": repo.private, "sha": f"{len(repo.commits):040x}"})
        if not writes:
            return self._refuse(403, "Forbidden: pass a token with write rights")
        if rest == ["preupload", "main"]:
            return self._send(200, {"files": [_mode(repo, file) for file in json.loads(body)["files"]]})
        if rest == ["info", "lfs", "objects", "batch"]:
            return self._send(200, {"transfer": "basic", "objects": [self._action(item) for item in json.loads(body)["objects"]]})
        if rest == ["commit", "main"]:
            return self._commit(name, repo, [json.loads(line) for line in body.splitlines()])
        return self._refuse(404, "no such page")

    def _action(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["oid"] in self.hub.store:
            return item  # no action: it is here
        return {**item, "actions": {"upload": {"href": f"{self.hub.endpoint}/storage/{item['oid']}?signature=x"}}}

    def _store(self, oid: str, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self._refuse(400, "the content's sha256 is not the one promised")
        with self.hub.lock:
            self.hub.store[oid] = body
        return self._send(200, {})

    def _commit(self, name: str, repo: Repo, lines: list[dict[str, Any]]) -> None:
        files: dict[str, bytes] = {}
        large: set[str] = set()
        for line in lines[1:]:  # the first tells the message
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile" and len(self.hub.store.get(value["oid"], b"")) == value["size"]:
                files[value["path"]] = self.hub.store[value["oid"]]
                large.add(value["path"])
            else:
                return self._refuse(400, f"cannot commit {line['key']} {value}")
        repo.files.update(files)
        repo.large = (repo.large - files.keys()) | large
        repo.commits.append(sorted(files))
        oid = f"{len(repo.commits):040x}"
        return self._send(200, {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.endpoint}/{name}/commit/{oid}"})


def _mode(repo: Repo, file: dict[str, Any]) -> dict[str, Any]:
    large = PurePosixPath(file["path"]).suffix in LFS or b"\0" in base64.b64decode(file["sample"])
    return {
        "path": file["path"],
        "uploadMode": "lfs" if large else "regular",
        "shouldIgnore": False,
        "oid": repo.oid(file["path"]),
    }
