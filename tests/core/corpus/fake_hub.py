"""A hub on loopback: as much of its protocol as reading and pushing a dataset takes."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.core.corpus.fake_storage import Pointer, Storage

COMMIT = "c0ffee" + "0" * 34


class FakeHub:
    """Serves datasets (name -> path -> bytes), each at ``COMMIT``; ``asked`` has every path.

    Pushes change the datasets, each with a commit; ``tokens`` has what requests carried to prove
    who asks. Large files are pointers to objects of the storage. A verb of ``fails`` is answered
    with its status.
    """

    def __init__(self, datasets, storage=None):
        self.datasets, self.storage = datasets, storage or Storage()
        self.asked, self.tokens, self.made = [], set(), []
        self.commits, self.earlier, self.fails = {}, {}, {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.answer(self)

            do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

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
        body, token = _body(request), request.headers.get("Authorization")
        if path.startswith("storage/"):
            status, headers, data = self.storage.answer(request.command, path, token, body)
            return self._reply(request, *_ranged(request, status, headers, data))
        self.asked.append(path)
        self.tokens.add(token)
        if path == "verify":
            return self._reply(request, self.storage.verify(json.loads(body)), b"{}", {})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._json(request, self.storage.batch(self.endpoint, json.loads(body)))
        return self._hub(request, path, parse_qs(url.query), body)

    def _hub(self, request, path, query, body):
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
        _, name, kind, revision, below = found.groups()
        files = self.earlier.get(name, {}).get(revision, files)
        if kind == "resolve":
            return self._file(request, files, below, self._commit_of(name, revision))
        if kind == "tree":
            deep = query.get("recursive", [""])[0].lower() == "true"
            return self._json(request, _tree(files, below or "", deep))
        if kind == "paths-info":
            return self._json(request, [e for p in form["paths"] for e in _entries(files, p)])
        siblings = [{"rfilename": path, "size": len(data)} for path, data in files.items()]
        commit = self._commit_of(name, revision)
        return self._json(request, {"id": name, "sha": commit, "siblings": siblings})

    def _commit_of(self, name, revision):
        is_commit = revision and re.fullmatch(r"[0-9a-f]{40}", revision)
        return revision if is_commit else self.commits.get(name, COMMIT)

    def _push(self, request, name, verb, body):
        if verb == "validate-yaml":
            return self._json(request, {"errors": [], "warnings": []})
        if verb == "create":
            asked = json.loads(body)
            self.made.append(asked)
            name = f"{asked['organization']}/{asked['name']}"
            self.datasets.setdefault(name, {})
            return self._json(request, {"url": f"{self.endpoint}/datasets/{name}", "id": name})
        if verb in self.fails:
            return self._reply(request, self.fails[verb], b"{}", {})
        files = self.datasets[name]
        if verb == "preupload":
            said = [self._mode(files, file) for file in json.loads(body)["files"]]
            return self._json(request, {"files": said})
        lines = [json.loads(line) for line in body.decode().splitlines()]
        objects = [line["value"]["oid"] for line in lines if line["key"] == "lfsFile"]
        if not self.storage.objects.keys() >= set(objects):
            return self._reply(request, 400, b'{"error": "a pointer to nothing"}', {})
        commit = self._commit(name, lines)
        url = f"{self.endpoint}/datasets/{name}/commit/{commit}"
        return self._json(request, {"commitUrl": url, "commitOid": commit, "pullRequestUrl": None})

    def _mode(self, files, asked):
        """Say how a file is to be uploaded, and what is there under its name."""
        mode = "lfs" if self.storage.is_large(asked["size"]) else "regular"
        there = {} if asked["path"] not in files else {"oid": _oid(files[asked["path"]])}
        return {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False} | there

    def _commit(self, name, lines):
        """Change a dataset; what it was stays under the commit it had."""
        files, commits = self.datasets[name], self.earlier.setdefault(name, {})
        if name in self.commits:
            commits[self.commits[name]] = dict(files)
        self.commits[name] = f"c0ffee{len(commits):034x}"
        for said in lines:
            value = said["value"]
            if said["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif said["key"] == "lfsFile":
                files[value["path"]] = Pointer(value["oid"], value["size"])
            elif said["key"] == "deletedFile":
                del files[value["path"]]
        return self.commits[name]

    def _file(self, request, files, name, commit):
        if name not in files:
            return self._reply(request, 404, b"", {"X-Error-Code": "EntryNotFound"})
        data = files[name]
        headers = {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": commit}
        if isinstance(data, Pointer):
            place = f"{self.endpoint.replace('127.0.0.1', 'localhost')}/storage/{data.oid}"
            headers = {"X-Repo-Commit": commit, "Location": place}
            headers |= {"X-Linked-ETag": f'"{data.oid}"', "X-Linked-Size": str(data.size)}
            return self._reply(request, 302, b"", headers)
        return self._reply(request, *_ranged(request, 200, headers, data))

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


def _ranged(request, status, headers, data):
    """Return status, body and headers of the bytes that were asked for, all of them if none."""
    if not (asked := request.headers.get("Range")):
        return status, data, headers
    first, _, last = asked.removeprefix("bytes=").partition("-")
    stop = min(len(data), int(last or len(data)) + 1)
    headers = headers | {"Content-Range": f"bytes {first}-{stop - 1}/{len(data)}"}
    return 206, data[int(first) : stop], headers


def _oid(data):
    """Return what the client compares a file of its own with: git's SHA-1, or an object's name."""
    if isinstance(data, Pointer):
        return data.oid
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entries(files, path):
    if path in files:
        data = files[path]
        return [{"type": "file", "path": path, "size": len(data), "oid": _oid(data)}]
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
