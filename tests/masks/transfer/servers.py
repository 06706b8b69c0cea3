"""Servers for packs on their way: a plain web server, and what the hub answers."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@contextmanager
def running(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of a server with that handler, on a free port, until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Site:
    """A web server's files by path; `claims` says another length than a file has."""

    files: dict[str, bytes] = field(default_factory=dict)
    claims: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def handler(site) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - self is the request's
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                path = unquote(urlsplit(self.path).path)
                data = site.files.get(path)
                status = site.statuses.get(path, 404 if data is None else 200)
                self.send_response(status)
                if status != 200 or data is None:
                    self.end_headers()
                    return
                self.send_header("Content-Length", str(site.claims.get(path, len(data))))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@dataclass
class Hub:
    """The few answers of the hub that pulling and pushing a model repository ask for."""

    repositories: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    tokens: set[str | None] = field(default_factory=set)
    token: str | None = None

    def commit(self, repository: str, files: dict[str, bytes]) -> str:
        """Add a commit with exactly these files; its name."""
        commits = self.repositories.setdefault(repository, [])
        name = hashlib.sha1(f"{repository} {len(commits)}".encode()).hexdigest()
        commits.append((name, files))
        return name

    def files(self, repository: str, revision: str = "main") -> dict[str, bytes]:
        """All files of a revision."""
        commits = self.repositories[repository]
        return commits[-1][1] if revision == "main" else dict(commits)[revision]

    def handler(hub) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - self is the request's
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer("GET")

            def do_HEAD(self) -> None:
                self.answer("HEAD")

            def do_POST(self) -> None:
                self.answer("POST")

            def answer(self, method: str) -> None:
                token = self.headers.get("Authorization")
                hub.tokens.add(token)
                size = int(self.headers.get("Content-Length", 0))
                self.body = self.rfile.read(size)
                if hub.token is not None and token != f"Bearer {hub.token}":
                    self.send({"error": "Unauthorized"}, 401, {"X-Error-Code": "RepoNotFound"})
                    return
                path = unquote(urlsplit(self.path).path)
                routes: tuple[tuple[str, str, Callable[..., None]], ...] = (
                    ("GET", r"/api/models/(\w+/[\w-]+)(?:/revision/(.+))?", self.info),
                    ("HEAD GET", r"/(\w+/[\w-]+)/resolve/([^/]+)/(.+)", self.file),
                    ("POST", r"/api/repos/create", self.create),
                    ("POST", r"/api/models/(\w+/[\w-]+)/preupload/(.+)", self.preupload),
                    ("POST", r"/api/models/(\w+/[\w-]+)/commit/(.+)", self.take),
                    ("GET", r"/api/models/(\w+/[\w-]+)/tree/([^/]+)(?:/(.*))?", self.tree),
                    ("POST", r"/api/validate-yaml", lambda: self.send({"errors": []})),
                )
                for methods, pattern, answer in routes:
                    if method in methods and (match := re.fullmatch(pattern, path)):
                        answer(*match.groups())
                        return
                self.send({"error": f"not faked: {method} {path}"}, 501)

            def find(self, repository: str, revision: str | None) -> tuple[str, dict] | None:
                commits = hub.repositories.get(repository)
                if commits is None:
                    self.send({"error": "no such"}, 404, {"X-Error-Code": "RepoNotFound"})
                    return None
                for name, files in reversed(commits):
                    if revision in (None, "main", name):
                        return name, files
                self.send({"error": "no such"}, 404, {"X-Error-Code": "RevisionNotFound"})
                return None

            def info(self, repository: str, revision: str | None) -> None:
                if found := self.find(repository, revision):
                    commit, files = found
                    siblings = [{"rfilename": n, "size": len(d)} for n, d in files.items()]
                    self.send({"id": repository, "sha": commit, "siblings": siblings})

            def tree(self, repository: str, revision: str, _folder: str | None) -> None:
                if found := self.find(repository, revision):
                    self.send(
                        [
                            {"type": "file", "path": name, "size": len(data), "oid": "0"}
                            for name, data in found[1].items()
                        ]
                    )

            def file(self, repository: str, revision: str, path: str) -> None:
                if not (found := self.find(repository, revision)):
                    return
                commit, files = found
                if path not in files:
                    self.send({}, 404, {"X-Error-Code": "EntryNotFound"})
                    return
                etag = hashlib.sha1(files[path]).hexdigest()
                headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}
                self.send(files[path], 200, headers)

            def create(self) -> None:
                wanted = json.loads(self.body)
                name = f"{wanted['organization']}/{wanted['name']}"
                if name in hub.repositories:
                    self.send({"error": "exists", "url": f"{hub_url(self)}/{name}"}, 409)
                    return
                hub.private[name] = "private" in (
                    wanted.get("visibility"),
                    wanted.get("private") and "private",
                )
                hub.commit(name, {".gitattributes": b"\n"})
                self.send({"url": f"{hub_url(self)}/{name}", "name": name, "id": "1"})

            def preupload(self, _repository: str, _revision: str) -> None:
                files = json.loads(self.body)["files"]
                modes = [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in files
                ]
                self.send({"files": modes})

            def take(self, repository: str, _revision: str) -> None:
                files = dict(hub.files(repository))
                for line in self.body.splitlines():
                    entry = json.loads(line)
                    value = entry["value"]
                    if entry["key"] == "file":
                        files[value["path"]] = base64.b64decode(value["content"])
                    elif entry["key"] == "deletedFile":
                        del files[value["path"]]
                commit = hub.commit(repository, files)
                url = f"{hub_url(self)}/{repository}/commit/{commit}"
                self.send({"success": True, "commitUrl": url, "commitOid": commit})

            def send(
                self, content: object, status: int = 200, headers: dict[str, str] | None = None
            ) -> None:
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def hub_url(request: BaseHTTPRequestHandler) -> str:
    """The URL that a request was sent to."""
    return f"http://{request.headers['Host']}"
