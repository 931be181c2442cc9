"""Nothing that a client stored can be read in what the server keeps: not while it writes, not afterwards.

Markers go in through every verb: in the body, the user metadata, the tags, the content headers. They, the hashes that
S3 shows of them, and the customer's key are then looked for, raw and in hexadecimal and in base64, in every file under
the data directory, in the server's temporary directory, in the files that it has open, and in its log at debug level.
"""

import base64
import hashlib
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from awscrt.checksums import crc32, crc32c, crc64nvme

from tests.harness import Server, running, unique_bucket
from tests.matrix.verbs import (
    MIB,
    Mode,
    Stored,
    Upload,
    copy,
    place,
    post_form,
    put,
    put_signed_chunks,
    put_signed_chunks_with_trailer,
    put_unsigned_chunks_with_trailer,
)

KEY_NAME = "a-key-is-no-secret"  # names of keys stay readable, as the threat model says


@dataclass
class Secrets:
    """Whatever must not be found; the name says what was found if it was."""

    values: dict[str, bytes] = field(default_factory=dict)

    def marker(self, name: str) -> str:
        """A text that nobody else ever wrote."""
        text = f"marker-{secrets.token_hex(20)}"
        self.values[f"{name} {text}"] = text.encode()
        return text

    def hashes(self, name: str, body: bytes) -> None:
        """Everything that S3 derives from a plaintext and shows to its owner."""
        for algorithm in ("md5", "sha1", "sha256", "sha512"):
            self.values[f"{algorithm} of {name}"] = hashlib.new(algorithm, body).digest()
        self.values[f"CRC64NVME of {name}"] = crc64nvme(body).to_bytes(8, "big")
        for label, number in (("CRC32", crc32(body)), ("CRC32C", crc32c(body))):
            self.values[f"{label} of {name}"] = number.to_bytes(4, "big")

    def customer_key(self, name: str) -> Mode:
        key = secrets.token_bytes(32)
        self.values[f"key {name}"] = key
        self.values[f"SHA-256 of key {name}"] = hashlib.sha256(key).digest()
        self.values[f"MD5 of key {name}"] = hashlib.md5(key).digest()
        return Mode(key)

    def found_in(self, data: bytes) -> list[str]:
        return [name for name, value in self.values.items() if any(form in data for form in forms(value))]


def forms(value: bytes) -> list[bytes]:
    """`value` raw, in hexadecimal and in base64, also where it stands in the middle of something encoded."""
    found = [value.hex().encode(), value.hex().upper().encode(), base64.b64encode(value)]
    if len(value) >= 8:  # four bytes turn up in megabytes of ciphertext by chance
        found.append(value)
    if len(value) >= 16:
        for shift in range(3):
            # What lies in other bytes' digits is cut off on both sides.
            inner = base64.b64encode(bytes(shift) + value)[(0, 2, 3)[shift] :].rstrip(b"=")[:-1]
            found += [inner, inner.replace(b"+", b"-").replace(b"/", b"_")]
    return found


@dataclass(frozen=True)
class Watched:
    server: Server
    temporary: Path

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of all that the server has written: deleted files that it still has open are among it."""
        for directory in (self.server.data_dir, self.temporary):
            for path in sorted(directory.rglob("*")):
                if path.is_file():
                    yield str(path), path.read_bytes()
        yield "log", self.server.log.read_bytes()
        for descriptor in self.descriptors():
            try:
                if descriptor.is_file():
                    yield f"{descriptor} ({os.readlink(descriptor)})", descriptor.read_bytes()
            except FileNotFoundError:  # closed meanwhile
                continue

    def descriptors(self) -> Iterator[Path]:
        session = str(self.server.process.pid)
        for process in Path("/proc").glob("[0-9]*"):
            try:
                stat = (process / "stat").read_text().rpartition(")")[2].split()
                if stat[3] == session:
                    yield from (process / "fd").iterdir()
            except (FileNotFoundError, ProcessLookupError):
                continue

    def check(self, hidden: Secrets, *, when: str) -> None:
        searched, named = 0, False
        for name, content in self.everything():
            found = hidden.found_in(content)
            assert not found, f"{when}, {name} holds {found}"
            searched += len(content)
            named = named or KEY_NAME.encode() in content
        assert searched > 10 * MIB  # the bodies are there, as something else
        assert named  # and the search finds what is readable


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {"TMPDIR": str(temporary), "STRONGROOM_LOG_LEVEL": "debug", "STRONGROOM_LOG_FORMAT": "json"}
    with running(tmp_path, environment=environment) as started:
        yield Watched(started, temporary)


def test_the_search_finds_every_form() -> None:
    hidden = Secrets({"it": secrets.token_bytes(20)})
    value = hidden.values["it"]
    for before in (b"", b"1", b"12", b"123"):
        for text in (before + value, (before + value).hex().encode(), base64.b64encode(before + value + b"more")):
            assert hidden.found_in(b"..." + text + b"...") == ["it"]
    assert hidden.found_in(secrets.token_bytes(1000)) == []


def test_nothing_that_was_stored_can_be_read(watched: Watched) -> None:
    server, hidden = watched.server, Secrets()
    bucket = unique_bucket()
    server.s3().create_bucket(Bucket=bucket)
    server.s3().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    server.s3().put_bucket_tagging(
        Bucket=bucket, Tagging={"TagSet": [{"Key": hidden.marker("tag key"), "Value": hidden.marker("tag of bucket")}]}
    )
    for name, mode in (("SSE-S3", Mode()), ("SSE-C", hidden.customer_key("of the client"))):
        write_through_every_verb(server, bucket, name, mode, hidden)
    watched.check(hidden, when="after the writes")

    with ExitStack() as unfinished:
        for name, mode in (("SSE-S3", Mode()), ("SSE-C", hidden.customer_key("of an upload"))):
            leave_unfinished(server, bucket, name, mode, hidden, unfinished)
        watched.check(hidden, when="during uploads")

    for version in server.s3().list_object_versions(Bucket=bucket)["Versions"]:
        server.s3().delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    watched.check(hidden, when="after the deletes")
    server.stop()
    watched.check(hidden, when="after the end")


def described(name: str, hidden: Secrets) -> dict[str, str]:
    """Headers with markers wherever a client may put words of its own."""
    tags = f"{hidden.marker(name + ' tag key')}={hidden.marker(name + ' tag')}"
    return {
        f"x-amz-meta-{hidden.marker(name + ' metadata name')}": hidden.marker(name + " metadata"),
        "x-amz-tagging": tags,
        "content-type": f"text/{hidden.marker(name + ' type')}",
        "content-disposition": f'attachment; filename="{hidden.marker(name + " file name")}"',
        "content-language": hidden.marker(name + " language"),
        "cache-control": hidden.marker(name + " cache"),
        "content-encoding": hidden.marker(name + " encoding"),
        "expires": hidden.marker(name + " expires"),
    }


def marked(name: str, size: int, hidden: Secrets) -> bytes:
    """A body that is its marker again and again; the beginnings of an upload's blocks and segments are in it too."""
    marker = hidden.marker(f"body of {name}").encode() + b"\n"
    body = marker * (size // len(marker) + 1)
    hidden.hashes(name, body)
    return body


def write_through_every_verb(server: Server, bucket: str, name: str, mode: Mode, hidden: Secrets) -> None:
    def body(verb: str, size: int = 100_000) -> bytes:
        return marked(f"{name} {verb}", size, hidden)

    def words(verb: str) -> dict[str, str]:
        return described(f"{name} {verb}", hidden)

    stored: list[Stored] = [put(server, bucket, f"{KEY_NAME}-{name}-put", body("put"), mode, headers=words("put"))]
    stored.append(put(server, bucket, f"{KEY_NAME}-{name}-small", body("small", 30), mode))
    stored.append(put(server, bucket, f"{KEY_NAME}-{name}-large", body("large", 6 * MIB), mode))
    fields = words("form")
    fields.pop("x-amz-tagging")
    tag = hidden.marker(f"{name} form tag")
    fields["tagging"] = f"<Tagging><TagSet><Tag><Key>k</Key><Value>{tag}</Value></Tag></TagSet></Tagging>"
    stored.append(post_form(server, bucket, f"{KEY_NAME}-{name}-form", body("form"), mode, fields=fields))
    for write in (put_signed_chunks, put_signed_chunks_with_trailer, put_unsigned_chunks_with_trailer):
        stored.append(write(server, bucket, f"{KEY_NAME}-{name}-{write.__name__}", body(write.__name__), mode))

    source = place(bucket, f"{KEY_NAME}-{name}-put")
    replaced = {**words("copy"), "x-amz-metadata-directive": "REPLACE", "x-amz-tagging-directive": "REPLACE"}
    stored.append(copy(server, bucket, f"{KEY_NAME}-{name}-copy", source, stored[0], mode, headers=replaced))
    other = hidden.customer_key(f"of a copy of {name}")
    stored.append(copy(server, bucket, f"{KEY_NAME}-{name}-copy-SSE-C", source, stored[0], other))
    stored.append(copy(server, bucket, f"{KEY_NAME}-{name}-copy-SSE-S3", source, stored[0], Mode()))

    upload = Upload.begin(server, bucket, f"{KEY_NAME}-{name}-parts", mode, headers=words("upload"), declared="CRC32C")
    first, copied = body("part", 5 * MIB), body("copied part", 70_000)
    put(server, bucket, f"{KEY_NAME}-{name}-source", copied, mode)
    upload.send_part(1, first)
    where = {"x-amz-copy-source-range": f"bytes=7-{len(copied) - 1}"}
    upload.copy_part(2, copied[7:], place(bucket, f"{KEY_NAME}-{name}-source"), mode, where)
    hidden.hashes(f"{name} range of a part", copied[7:])
    hidden.hashes(f"{name} whole upload", first + copied[7:])
    stored.append(upload.complete(first + copied[7:], checksums={}))
    for each in stored:  # also the ETags that are no hash of the plaintext
        hidden.values[f"ETag of {name} {each.etag}"] = bytes.fromhex(each.etag.strip('"').partition("-")[0])

    tag = hidden.marker(f"{name} tag put afterwards")
    tagging = f"<Tagging><TagSet><Tag><Key>k</Key><Value>{tag}</Value></Tag></TagSet></Tagging>".encode()
    target = place(bucket, f"{KEY_NAME}-{name}-put")
    md5 = base64.b64encode(hashlib.md5(tagging).digest()).decode()
    assert server.send("PUT", f"{target}?tagging", headers={"content-md5": md5}, body=tagging).status == 200

    for reply in (
        server.send("GET", target, headers=mode.headers),
        server.send("GET", target, headers={**mode.headers, "range": "bytes=1-50000"}),
        server.send("HEAD", target, headers={**mode.headers, "x-amz-checksum-mode": "ENABLED"}),
        server.send("GET", f"{target}?tagging"),
    ):
        assert reply.status in (200, 206)
    refused = Secrets().customer_key("wrong")
    hidden.values[f"wrong key {name}"] = refused.key or b""
    assert server.send("GET", target, headers=refused.headers).status in (400, 403)


def leave_unfinished(
    server: Server, bucket: str, name: str, mode: Mode, hidden: Secrets, unfinished: ExitStack
) -> None:
    """An upload with parts that nobody completes, and a PUT and a part of which only a half arrives."""
    upload = Upload.begin(
        server, bucket, f"{KEY_NAME}-{name}-open", mode, headers=described(f"{name} open upload", hidden)
    )
    upload.send_part(1, marked(f"{name} part of an open upload", 5 * MIB, hidden))
    upload.send_part(2, marked(f"{name} last part of an open upload", 1000, hidden))
    body = marked(f"{name} half a body", 4 * MIB, hidden)
    for target in (
        place(bucket, f"{KEY_NAME}-{name}-half"),
        f"{upload.target}?partNumber=3&uploadId={quote(upload.upload_id)}",
    ):
        before = temporary_bytes(server)
        connection = unfinished.enter_context(server.connect())
        connection.sendall(server.head("PUT", target, headers=mode.headers, body=body) + body[: 3 * MIB])
        # What was sent has been written when the temporary file has grown by most of it.
        wait_until(lambda before=before: temporary_bytes(server) - before >= 2 * MIB, connection)


def temporary_bytes(server: Server) -> int:
    sizes = 0
    for path in (server.data_dir / "s3" / "blobs" / "tmp").iterdir():
        try:
            sizes += path.stat().st_size
        except FileNotFoundError:
            continue
    return sizes


def wait_until(condition, connection: socket.socket) -> None:
    import time

    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        connection.settimeout(0.01)
        try:
            raise AssertionError(f"an answer before the end of the body: {connection.recv(1000)!r}")
        except TimeoutError:
            pass
