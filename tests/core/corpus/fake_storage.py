"""What a hub keeps outside git: objects of git-LFS, uploaded at once or in parts, and fetched."""

import hashlib
import json
import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pointer:
    """What git has of a large file: the SHA-256 of its bytes, and how many they are."""

    oid: str
    size: int
    xet: str = ""

    def __len__(self) -> int:
        return self.size


@dataclass
class Storage:
    """Objects by their SHA-256; it is reached under another name than the hub, as a real one.

    Attributes:
        large_from: bytes from which a file is an object; None if none is.
        part_bytes: larger objects come in parts of so many bytes; None if none does.
        max_uploads: refuses further uploads, as one whose signed address is too old would.
        objects: their bytes.
        sent: what was uploaded, one entry for each request: an object, or an object and a part.
        tokens: what requests carried to prove who asks.
    """

    large_from: int | None = None
    part_bytes: int | None = None
    max_uploads: int = 1_000
    objects: dict[str, bytes] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    _parts: dict[str, dict[int, bytes]] = field(default_factory=dict)

    def is_large(self, size: int) -> bool:
        return self.large_from is not None and size >= self.large_from

    def batch(self, endpoint: str, asked: dict) -> dict:
        """Answer what a client wants to upload: where it shall go, nothing for what is there."""
        assert asked["operation"] == "upload"
        assert {"basic", "multipart"} <= set(asked["transfers"])
        return {"transfer": "basic", "objects": [self._one(endpoint, o) for o in asked["objects"]]}

    def _one(self, endpoint: str, said: dict) -> dict:
        oid, size = said["oid"], said["size"]
        if oid in self.objects:
            return said
        place = f"{endpoint.replace('127.0.0.1', 'localhost')}/storage/{oid}"
        upload = {"href": place, "header": {}}
        if self.part_bytes is not None and size > self.part_bytes:
            n_parts = -(-size // self.part_bytes)
            numbered = {str(n): f"{place}/{n}" for n in range(1, n_parts + 1)}
            upload["header"] = {"chunk_size": str(self.part_bytes)} | numbered
        return said | {"actions": {"upload": upload, "verify": {"href": f"{endpoint}/verify"}}}

    def answer(self, method: str, path: str, token: str | None, body: bytes) -> tuple:
        """Return status, headers and body: of an upload, the end of one in parts, or an object."""
        oid, number = re.fullmatch(r"storage/(\w{64})(?:/(\d+))?", path).groups()
        self.tokens.add(token)
        if method == "POST":
            return self._put_together(oid, json.loads(body)["parts"])
        if method != "PUT":
            data = self.objects.get(oid)
            return (200, {}, data) if data is not None else (404, {}, b"")
        if len(self.sent) >= self.max_uploads:
            return 403, {}, b"the address has expired"
        self.sent.append(path.removeprefix("storage/"))
        if number is None:
            self.objects[oid] = body
        else:
            self._parts.setdefault(oid, {})[int(number)] = body
        return 200, {"ETag": hashlib.md5(body).hexdigest()}, b""

    def _put_together(self, oid: str, said: list[dict]) -> tuple:
        parts = [self._parts[oid][part["partNumber"]] for part in said]
        if [hashlib.md5(part).hexdigest() for part in parts] != [part["etag"] for part in said]:
            return 400, {}, b"parts differ"
        self.objects[oid] = b"".join(parts)
        return 200, {}, b"{}"

    def verify(self, said: dict) -> int:
        """Return the status of an upload that a client says is done."""
        data = self.objects.get(said["oid"], b"")
        is_whole = hashlib.sha256(data).hexdigest() == said["oid"] and len(data) == said["size"]
        return 200 if is_whole else 422
