"""Nothing that a client stored can be read in what the server keeps: not while it writes, not afterwards.

Markers go in through every verb: in the body, the user metadata, the tags, the content headers. They, the hashes that
S3 shows of them, the customer's keys and the data keys that the KMS made are then looked for, raw and in hexadecimal and in base64, in every file under
the data directory, in the server's temporary directory, in the files that it has open, and in its log at debug level.
"""

import base64
import hashlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from awscrt.checksums import crc32, crc32c, crc64nvme

from tests.fixtures.independent_reader import Store
from tests.harness import Server, new_key, running, unique_bucket
from tests.matrix.verbs import (
    MIB,
    Mode,
    Stored,
    Upload,
    copy,
    modes_under,
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
    """Whatever must not be found; the name says what was found if it was. Every marker has `word` in it."""

    word: str = field(default_factory=lambda: f"secret-{secrets.token_hex(16)}")
    values: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values["a marker"] = self.word.encode()

    def marker(self, name: str) -> str:
        return f"{self.word}-{name}"

    def body(self, size: int) -> bytes:
        """The marker again and again, so that it is in every segment, block and part."""
        line = f"{self.word}\n".encode()
        body = (line * (size // len(line) + 1))[:size]
        self.hashes(f"{size} bytes", body)
        return body

    def hashes(self, name: str, body: bytes) -> None:
        """Everything that S3 derives from a plaintext and shows to its owner."""
        for algorithm in ("md5", "sha1", "sha256"):
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

    def patterns(self) -> bytes:
        """For grep, which reads one to a line: of a value with a line's end in it, the longest piece."""
        lines = [max(form.split(b"\n"), key=len) for value in self.values.values() for form in forms(value)]
        return b"".join(line + b"\n" for line in lines if len(line) >= 6)

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

    def check(self, hidden: Secrets, *, when: str) -> None:
        files = list(self.files())
        assert sum(path.stat().st_size for path in files) > 10 * MIB  # the bodies are there, as something else
        assert grep(b"%s\n" % KEY_NAME.encode(), files)  # and the search finds what is readable
        for path in grep(hidden.patterns(), files):
            raise AssertionError(f"{when}, {path} holds {hidden.found_in(path.read_bytes())}")

    def files(self) -> Iterator[Path]:
        """All that the server has written; deleted files that it still has open are among it."""
        for directory in (self.server.data_dir, self.temporary):
            yield from (path for path in directory.rglob("*") if path.is_file())
        yield self.server.log
        for process in Path("/proc").glob("[0-9]*"):
            try:
                session = (process / "stat").read_text().rpartition(")")[2].split()[3]
                opened = list((process / "fd").iterdir()) if session == str(self.server.process.pid) else []
                yield from (path for path in opened if path.is_file())
            except (FileNotFoundError, ProcessLookupError):
                continue


def grep(patterns: bytes, files: Sequence[Path]) -> list[Path]:
    """Those of `files` with one of `patterns` in them."""
    command = ["grep", "--files-with-matches", "--fixed-strings", "--text", "--file=-", "--", *map(str, files)]
    done = subprocess.run(command, input=patterns, capture_output=True, env={**os.environ, "LC_ALL": "C"}, check=False)
    assert done.returncode in (0, 1), done.stderr
    return [Path(line) for line in done.stdout.decode().splitlines()]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {"TMPDIR": str(temporary), "STRONGROOM_LOG_LEVEL": "debug", "STRONGROOM_LOG_FORMAT": "json"}
    with running(tmp_path, environment=environment) as started:
        yield Watched(started, temporary)


def test_the_search_finds_every_form(tmp_path: Path) -> None:
    hidden = Secrets()
    value = hidden.values["it"] = secrets.token_bytes(20)
    for before in (b"", b"1", b"12", b"123"):
        for text in (before + value, (before + value).hex().encode(), base64.b64encode(before + value + b"more")):
            (tmp_path / "file").write_bytes(b"..." + text + b"...")
            assert hidden.found_in(b"..." + text + b"...") == ["it"]
            assert grep(hidden.patterns(), [tmp_path / "file"]) == [tmp_path / "file"]
    (tmp_path / "file").write_bytes(secrets.token_bytes(1000))
    assert grep(hidden.patterns(), [tmp_path / "file"]) == []


def test_nothing_that_was_stored_can_be_read(watched: Watched) -> None:
    server, hidden = watched.server, Secrets()
    bucket, kms_key = unique_bucket(), new_key(server.kms())
    server.s3().create_bucket(Bucket=bucket)
    server.s3().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    server.s3().put_bucket_tagging(
        Bucket=bucket, Tagging={"TagSet": [{"Key": hidden.marker("tag-key"), "Value": hidden.marker("tag")}]}
    )
    written: dict[str, Stored] = {}
    for name, mode in {**modes_under(kms_key), "SSE-C": hidden.customer_key("of the client")}.items():
        written |= write_through_every_verb(server, bucket, name, mode, hidden)
    watched.check(hidden, when="after the writes")
    find_data_keys(server, written, hidden)
    watched.check(hidden, when="after the writes, as to data keys")

    with ExitStack() as unfinished:
        for name, mode in {**modes_under(kms_key), "SSE-C": hidden.customer_key("of an upload")}.items():
            leave_unfinished(server, bucket, name, mode, hidden, unfinished)
        watched.check(hidden, when="during uploads")

    for version in server.s3().list_object_versions(Bucket=bucket)["Versions"]:
        server.s3().delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    watched.check(hidden, when="after the deletes")
    server.stop()
    watched.check(hidden, when="after the end")


def find_data_keys(server: Server, written: Mapping[str, Stored], hidden: Secrets) -> None:
    """Whatever the KMS opens for a reader that knows docs/object-format.md; it finds the bytes that were written."""
    kms, opened = server.kms(), set[bytes]()

    def decrypt(key_arn: str, ciphertext_blob: bytes, context: dict[str, str]) -> bytes:
        data_key: bytes = kms.decrypt(KeyId=key_arn, CiphertextBlob=ciphertext_blob, EncryptionContext=context)[
            "Plaintext"
        ]
        opened.add(data_key)
        return data_key

    customer_keys = {key: stored.mode.key for key, stored in written.items() if stored.mode.key is not None}
    with closing(Store(server.data_dir, customer_keys, decrypt)) as store:
        assert {each.key: each.body for each in store.objects()} == {key: each.body for key, each in written.items()}
    under_kms = [each.mode for each in written.values() if each.mode.kms_key is not None]
    own = sum(not mode.bucket_key for mode in under_kms)
    assert own < len(opened) < len(under_kms)  # one for each without a bucket key, and fewer for those under one
    hidden.values |= {f"data key {number}": data_key for number, data_key in enumerate(opened)}


def described(hidden: Secrets) -> dict[str, str]:
    """Headers with markers wherever a client may put words of its own."""
    return {
        f"x-amz-meta-{hidden.marker('metadata-name')}": hidden.marker("metadata"),
        "x-amz-tagging": f"{hidden.marker('tag-key')}={hidden.marker('tag')}",
        "content-type": f"text/{hidden.marker('type')}",
        "content-disposition": f'attachment; filename="{hidden.marker("file name")}"',
        "content-language": hidden.marker("language"),
        "cache-control": hidden.marker("cache"),
        "content-encoding": hidden.marker("encoding"),
        "expires": hidden.marker("expires"),
    }


def tagging(hidden: Secrets) -> str:
    return f"<Tagging><TagSet><Tag><Key>k</Key><Value>{hidden.marker('tag')}</Value></Tag></TagSet></Tagging>"


def write_through_every_verb(server: Server, bucket: str, name: str, mode: Mode, hidden: Secrets) -> dict[str, Stored]:
    """The objects by key."""
    body, words, key = hidden.body(100_000), described(hidden), f"{KEY_NAME}-{name}"
    stored = {f"{key}-put": put(server, bucket, f"{key}-put", body, mode, headers=words)}
    stored[f"{key}-small"] = put(server, bucket, f"{key}-small", hidden.body(40), mode)
    stored[f"{key}-large"] = put(server, bucket, f"{key}-large", hidden.body(5 * MIB), mode)
    fields = {**words, "tagging": tagging(hidden)}
    fields.pop("x-amz-tagging")
    stored[f"{key}-form"] = post_form(server, bucket, f"{key}-form", body, mode, fields=fields)
    for write in (put_signed_chunks, put_signed_chunks_with_trailer, put_unsigned_chunks_with_trailer):
        stored[f"{key}-{write.__name__}"] = write(server, bucket, f"{key}-{write.__name__}", body, mode)

    target, first = place(bucket, f"{key}-put"), stored[f"{key}-put"]
    replaced = {**words, "x-amz-metadata-directive": "REPLACE", "x-amz-tagging-directive": "REPLACE"}
    stored[f"{key}-copy"] = copy(server, bucket, f"{key}-copy", target, first, mode, headers=replaced)
    other = hidden.customer_key(f"of a copy of {name}")
    stored[f"{key}-copy-SSE-C"] = copy(server, bucket, f"{key}-copy-SSE-C", target, first, other)
    stored[f"{key}-copy-SSE-S3"] = copy(server, bucket, f"{key}-copy-SSE-S3", target, first, Mode())

    upload = Upload.begin(server, bucket, f"{key}-parts", mode, headers=words, declared="CRC32C")
    upload.send_part(1, hidden.body(5 * MIB))
    copied = body[7:]
    hidden.hashes("a copied part", copied)
    where = {"x-amz-copy-source-range": f"bytes=7-{len(body) - 1}"}
    upload.copy_part(2, copied, target, mode, where)
    whole = hidden.body(5 * MIB) + copied
    hidden.hashes("a whole upload", whole)
    stored[f"{key}-parts"] = upload.complete(whole, checksums={})
    for each in stored.values():  # also the ETags that are no hash of the plaintext
        hidden.values[f"ETag of {name} {each.etag}"] = bytes.fromhex(each.etag.strip('"').partition("-")[0])

    document = tagging(hidden).encode()
    md5 = base64.b64encode(hashlib.md5(document).digest()).decode()
    assert server.send("PUT", f"{target}?tagging", headers={"content-md5": md5}, body=document).status == 200

    for reply in (
        server.send("GET", target, headers=mode.headers),
        server.send("GET", target, headers={**mode.headers, "range": "bytes=1-50000"}),
        server.send("HEAD", target, headers={**mode.headers, "x-amz-checksum-mode": "ENABLED"}),
        server.send("GET", f"{target}?tagging"),
    ):
        assert reply.status in (200, 206)
    wrong = hidden.customer_key("that is wrong")
    assert server.send("GET", target, headers=wrong.headers).status in (400, 403)
    return stored


def leave_unfinished(
    server: Server, bucket: str, name: str, mode: Mode, hidden: Secrets, unfinished: ExitStack
) -> None:
    """An upload with parts that nobody completes, and a PUT and a part of which only a half arrives."""
    upload = Upload.begin(server, bucket, f"{KEY_NAME}-{name}-open", mode, headers=described(hidden))
    upload.send_part(1, hidden.body(5 * MIB))
    upload.send_part(2, hidden.body(1000))
    body = hidden.body(4 * MIB)
    for target, headers in (
        (place(bucket, f"{KEY_NAME}-{name}-half"), mode.write_headers),
        (f"{upload.target}?partNumber=3&uploadId={quote(upload.upload_id)}", mode.headers),
    ):
        before = temporary_bytes(server)
        connection = unfinished.enter_context(server.connect())
        connection.sendall(server.head("PUT", target, headers=headers, body=body) + body[: 3 * MIB])
        # What was sent has been written when the temporary file has grown by most of it.
        wait_until(partial(has_grown, server, before + 2 * MIB), connection)


def has_grown(server: Server, size: int) -> bool:
    return temporary_bytes(server) >= size


def temporary_bytes(server: Server) -> int:
    sizes = 0
    for path in (server.data_dir / "s3" / "blobs" / "tmp").iterdir():
        try:
            sizes += path.stat().st_size
        except FileNotFoundError:
            continue
    return sizes


def wait_until(condition: Callable[[], bool], connection: socket.socket) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        connection.settimeout(0.01)
        try:
            raise AssertionError(f"an answer before the end of the body: {connection.recv(1000)!r}")
        except TimeoutError:
            pass
