"""A hub on loopback: as much of its protocol as reading and pushing a dataset takes."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


class FakeHub:
    """Serves datasets (name -> path -> bytes), each at ``COMMIT``; ``asked`` has every path.

    Pushes change the datasets; ``tokens`` has what requests carried to prove who asks.
    """

    def __init__(self, datasets):
        self.datasets = datasets
        self.asked, self.tokens, self.made = [], set(), []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.answer(self)

            do_HEAD = do_POST = do_GET  # noqa: N815

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request):
        url = urlsplit(request.path)
        path = unquote(url.path).removeprefix("/")
        self.asked.append(path)
        self.tokens.add(request.headers.get("Authorization"))
        body = _body(request)
        writes = r"api/(?:(?:repos|datasets/(\w+/\w+))/)?(create|preupload|commit|validate-yaml)"
        if pushed := re.fullmatch(rf"{writes}(?:/main)?", path):
            return self._push(request, pushed[1], pushed[2], body)
        form = parse_qs(body.decode(errors="replace"))
        found = re.fullmatch(
            r"(api/)?datasets/(\w+/\w+)(?:/(\w[\w-]*)(?:/(\w+)(?:/(.*))?)?)?", path
        )
        files = self.datasets.get(found[2]) if found else None
        if files is None:
            return self._reply(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"})
        _, name, kind, _, below = found.groups()
        if kind == "resolve":
            return self._file(request, files, below)
        if kind == "tree":
            deep = parse_qs(url.query).get("recursive", [""])[0].lower() == "true"
            return self._json(request, _tree(files, below or "", deep))
        if kind == "paths-info":
            return self._json(request, [e for p in form["paths"] for e in _entries(files, p)])
        siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
        return self._json(request, {"id": name, "sha": COMMIT, "siblings": siblings})

    def _push(self, request, name, verb, body):
        if verb == "validate-yaml":
            return self._json(request, {"errors": [], "warnings": []})
        if verb == "create":
            asked = json.loads(body)
            self.made.append(asked)
            name = f"{asked['organization']}/{asked['name']}"
            self.datasets.setdefault(name, {})
            return self._json(request, {"url": f"{self.endpoint}/datasets/{name}", "id": name})
        files = self.datasets[name]
        if verb == "preupload":
            paths = [file["path"] for file in json.loads(body)["files"]]
            said = [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]
            return self._json(request, {"files": said})
        for line in body.decode().splitlines():
            said = json.loads(line)
            if said["key"] == "file":
                files[said["value"]["path"]] = base64.b64decode(said["value"]["content"])
            elif said["key"] == "deletedFile":
                del files[said["value"]["path"]]
        url = f"{self.endpoint}/datasets/{name}/commit/{COMMIT}"
        return self._json(request, {"commitUrl": url, "commitOid": COMMIT, "pullRequestUrl": None})

    def _file(self, request, files, name):
        if name not in files:
            return self._reply(request, 404, b"", {"X-Error-Code": "EntryNotFound"})
        data, status = files[name], 200
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if asked := request.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            stop = min(len(data), int(last or len(data)) + 1)
            headers["Content-Range"] = f"bytes {first}-{stop - 1}/{len(data)}"
            data, status = data[int(first) : stop], 206
        return self._reply(request, status, data, headers)

    def _json(self, request, value):
        data = json.dumps(value).encode()
        return self._reply(request, 200, data, {"Content-Type": "application/json"})

    def _reply(self, request, status, data, headers):
        request.send_response(status)
        for key, value in ({"Content-Length": str(len(data))} | headers).items():
            request.send_header(key, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data)


def _body(request):
    """Read what came with a request, whole or in chunks."""
    if request.headers.get("Transfer-Encoding") != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    found = b""
    while size := int(request.rfile.readline(), 16):
        found += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return found


def _entries(files, path):
    if path in files:
        data = files[path]
        oid = hashlib.sha1(data).hexdigest()
        return [{"type": "file", "path": path, "size": len(data), "oid": oid}]
    if any(name.startswith(f"{path}/") for name in files):
        return [{"type": "directory", "path": path, "oid": "d" * 40}]
    return []


def _tree(files, below, deep):
    prefix = f"{below}/" if below else ""
    found = set()
    for name in files:
        if name.startswith(prefix):
            parts = name.removeprefix(prefix).split("/")
            ends = range(1, len(parts) + 1) if deep else [1]
            found.update(prefix + "/".join(parts[:end]) for end in ends)
    return [entry for path in sorted(found) for entry in _entries(files, path)]
