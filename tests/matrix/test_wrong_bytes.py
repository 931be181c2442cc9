"""Wrong bytes never leave: whatever somebody does to the blob files under a running server.

Every damage meets every way to read. An answer may then be an error before the first byte, or break off after some
right bytes, or be right and whole where the range lies beside the damage. It is never a clean end of anything else, and
never says that a key is wrong.
"""

import os
import random
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from strongroom.crypto.segments import ciphertext_size
from tests.harness import Reply, Server, running, unique_bucket
from tests.matrix.verbs import MIB, MODES, Mode, Stored, Upload, default_checksum, place, put

HEADER = 56  # salt and commitment (docs/object-format.md)
SEGMENT = 16384
STORED_SEGMENT = SEGMENT + 16

DATA = random.Random(22).randbytes(20 * MIB)

Damage = Callable[[Path], None]


# --- what can be done to a file


def flip(offset: int) -> Damage:
    """One bit, counted from the end where `offset` is negative."""

    def damage(path: Path) -> None:
        position = offset if offset >= 0 else path.stat().st_size + offset
        with path.open("r+b") as file:
            file.seek(position)
            byte = file.read(1)[0]
            file.seek(position)
            file.write(bytes([byte ^ 0x10]))

    return damage


def cut(size: Callable[[int], int]) -> Damage:
    return lambda path: os.truncate(path, size(path.stat().st_size))


def extend(data: bytes) -> Damage:
    def damage(path: Path) -> None:
        with path.open("ab") as file:
            file.write(data)

    return damage


def segments(change: Callable[[list[bytes]], list[bytes]]) -> Damage:
    """The stored segments in another order, number or choice."""

    def damage(path: Path) -> None:
        stored = path.read_bytes()
        pieces = [
            stored[start : start + STORED_SEGMENT] for start in range(HEADER, max(len(stored), 1), STORED_SEGMENT)
        ]
        rewrite(path, stored[:HEADER] + b"".join(change(pieces)))

    return damage


def rewrite(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def middle(path: Path) -> int:
    return path.stat().st_size // 2


ANYWHERE: dict[str, Damage] = {
    "flip-in-the-salt": flip(0),
    "flip-in-the-commitment": flip(HEADER - 1),
    "flip-in-the-first-byte": flip(HEADER),
    "flip-in-the-last-byte-before-the-tag": flip(-17),
    "flip-in-the-last-tag": flip(-1),
    "cut-by-a-byte": cut(lambda size: size - 1),
    "cut-by-a-tag": cut(lambda size: size - 16),
    "cut-to-the-header": cut(lambda _: HEADER),
    "cut-to-nothing": cut(lambda _: 0),
    "extended-by-a-byte": extend(b"\0"),
    "extended-by-a-segment": extend(bytes(STORED_SEGMENT)),
    "gone": Path.unlink,
    "zeros": lambda path: rewrite(path, bytes(path.stat().st_size)),
}
IN_SEGMENTS: dict[str, Damage] = {
    "flip-in-the-middle": lambda path: flip(middle(path))(path),
    "first-segments-swapped": segments(lambda each: [each[1], each[0], *each[2:]]),
    "last-whole-segments-swapped": segments(lambda each: [*each[:-3], each[-2], each[-3], each[-1]]),
    "segment-in-place-of-the-next": segments(lambda each: [each[0], each[0], *each[2:]]),
    "segment-in-place-of-the-last-whole-one": segments(lambda each: [*each[:-2], each[0], each[-1]]),
    "segment-twice": segments(lambda each: [each[0], *each]),
    "last-segment-twice": segments(lambda each: [*each, each[-1]]),
    "segment-left-out": segments(lambda each: [each[0], *each[2:]]),
    "cut-after-a-segment": segments(lambda each: each[:-1]),
    "reversed": segments(lambda each: [*each[-2::-1], each[-1]]),
}


# --- how it is read


@dataclass(frozen=True)
class Target:
    """An object, or what reads like one: `path` with its query."""

    path: str
    stored: Stored


def reads(size: int, parts: int) -> Iterator[tuple[str, Mapping[str, str], int, int]]:
    """Query, headers, and the first and last byte of the answer that would be right."""
    yield "", {}, 0, size - 1
    edges = [0, SEGMENT - 1, SEGMENT, size // 2, size - SEGMENT, size - 1]
    for edge in sorted({edge for edge in edges if 0 <= edge < size}):
        yield "", {"range": f"bytes={edge}-{edge}"}, edge, edge
        yield "", {"range": f"bytes={edge}-"}, edge, size - 1
    if not parts:
        yield "partNumber=1", {}, 0, size - 1


def check_no_wrong_byte(reply: Reply, right: bytes, *, whole: bool) -> None:
    """`whole`: the answer covers the damage, so it can't be right."""
    if reply.status == 500:
        assert reply.code == "InternalError"
        return
    assert reply.status in (200, 206), reply
    assert right.startswith(reply.body)
    if whole:
        assert not reply.complete
    elif reply.complete:
        assert reply.body == right


def check_reads(server: Server, target: str, stored: Stored, *, tls: bool = False) -> None:
    separator = "&" if "?" in target else "?"
    for query, headers, first, last in reads(len(stored.body), len(stored.parts)):
        url = f"{target}{separator}{query}" if query else target
        reply = server.send("GET", url, headers={**headers, **stored.mode.headers}, tls=tls)
        whole = (first, last) == (0, len(stored.body) - 1)
        check_no_wrong_byte(reply, stored.body[first : last + 1], whole=whole)
        if last - first < 256 * 1024 and whole:
            assert reply.status == 500  # small enough to be judged before anything is said


def check_copies(server: Server, bucket: str, source: str, stored: Stored) -> None:
    """Damage is not copied either, and no object comes of it."""
    given = {"x-amz-copy-source": source, **stored.mode.source_headers}
    target = place(bucket, f"copy-{secrets.token_hex(4)}")
    reply = server.send("PUT", target, headers=given)
    assert (reply.status, reply.code) == (500, "InternalError")
    assert server.send("HEAD", target).status == 404
    upload = Upload.begin(server, bucket, "an upload", Mode())
    part = f"{upload.target}?partNumber=1&uploadId={quote(upload.upload_id)}"
    assert server.send("PUT", part, headers=given).status == 500
    assert b"<Part>" not in server.send("GET", f"{upload.target}?uploadId={quote(upload.upload_id)}").body


# --- which file is whose


def blobs(server: Server) -> set[Path]:
    return set((server.data_dir / "s3" / "blobs").glob("??/*"))


@dataclass(frozen=True)
class Placed:
    """An object and the files that its parts are in, in order."""

    target: str
    stored: Stored
    files: list[Path]


def write(server: Server, bucket: str, key: str, body: bytes, mode: Mode) -> Placed:
    before = blobs(server)
    stored = put(server, bucket, key, body, mode)
    return Placed(place(bucket, key), stored, list(blobs(server) - before))


def write_parts(server: Server, bucket: str, key: str, bodies: list[bytes], mode: Mode) -> Placed:
    upload = Upload.begin(server, bucket, key, mode)
    files: list[Path] = []
    for number, body in enumerate(bodies, start=1):
        before = blobs(server)
        upload.send_part(number, body)
        files += blobs(server) - before
    whole = b"".join(bodies)
    return Placed(place(bucket, key), upload.complete(whole, checksums=default_checksum(whole)), files)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of its own: nobody else should come upon the damage."""
    with running(tmp_path_factory.mktemp("damaged")) as started:
        yield started


@pytest.fixture
def bucket(server: Server) -> str:
    return new_bucket(server)


@pytest.fixture(scope="module")
def large(server: Server, modes: dict[str, Mode]) -> dict[str, Placed]:
    bucket = new_bucket(server)
    return {name: write(server, bucket, f"large-{name}", DATA, mode) for name, mode in modes.items()}


def new_bucket(server: Server) -> str:
    name = unique_bucket()
    server.s3().create_bucket(Bucket=name)
    return name


def damaged(path: Path, damage: Damage) -> Callable[[], None]:
    """Do it; what is returned undoes it."""
    kept = path.with_name(".kept")
    shutil.copyfile(path, kept)
    damage(path)
    return lambda: os.replace(kept, path)


@pytest.mark.parametrize("size", [0, 1, 13, SEGMENT - 73, SEGMENT - 72, SEGMENT - 1, SEGMENT, SEGMENT + 1])
def test_damage_to_a_small_object(server: Server, bucket: str, mode: Mode, size: int) -> None:
    placed = write(server, bucket, "small", DATA[:size], mode)
    (file,) = placed.files
    for name, damage in ANYWHERE.items():
        undo = damaged(file, damage)
        try:
            check_reads(server, placed.target, placed.stored)
            if name == "flip-in-the-last-tag":
                check_copies(server, bucket, placed.target, placed.stored)
        finally:
            undo()
    assert server.send("GET", placed.target, headers=mode.headers).body == DATA[:size]


@pytest.mark.parametrize("name", [*ANYWHERE, *IN_SEGMENTS])
def test_damage_to_an_object_of_some_segments(server: Server, bucket: str, mode: Mode, name: str) -> None:
    placed = write(server, bucket, "some", DATA[:100_000], mode)
    (file,) = placed.files
    (ANYWHERE | IN_SEGMENTS)[name](file)
    check_reads(server, placed.target, placed.stored)
    check_copies(server, bucket, placed.target, placed.stored)


@pytest.mark.parametrize("mode_name", MODES)
@pytest.mark.parametrize("name", [*ANYWHERE, *IN_SEGMENTS])
def test_damage_to_a_large_object(server: Server, large: dict[str, Placed], mode_name: str, name: str) -> None:
    placed = large[mode_name]
    (file,) = placed.files
    undo = damaged(file, (ANYWHERE | IN_SEGMENTS)[name])
    try:
        check_reads(server, placed.target, placed.stored)
    finally:
        undo()


def test_damage_to_a_large_object_over_tls(server: Server, large: dict[str, Placed]) -> None:
    placed = large["SSE-C"]
    (file,) = placed.files
    for damage in (flip(HEADER), IN_SEGMENTS["flip-in-the-middle"], flip(-1)):
        undo = damaged(file, damage)
        try:
            check_reads(server, placed.target, placed.stored, tls=True)
        finally:
            undo()


def test_damage_is_aborted_after_what_was_right(server: Server, large: dict[str, Placed]) -> None:
    """Damage in the last segment is seen when nearly all has left: then the connection ends, and not the answer."""
    for placed in large.values():
        (file,) = placed.files
        undo = damaged(file, flip(-1))
        try:
            reply = server.send("GET", placed.target, headers=placed.stored.mode.headers)
        finally:
            undo()
        assert reply.status == 200
        assert not reply.complete
        assert len(reply.body) > len(DATA) // 2
        assert DATA.startswith(reply.body)
        assert reply.headers["content-length"] == str(len(DATA))


@pytest.mark.parametrize("size", [13, 100_000])
def test_a_blob_of_another_object_is_damage(server: Server, bucket: str, mode: Mode, size: int) -> None:
    """Of the same size and, with SSE-C, under the same key: of another key, bucket, version, and of the same bytes."""
    elsewhere = new_bucket(server)
    server.s3().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    placed = write(server, bucket, "one", DATA[:size], mode)
    others = {
        "another key": write(server, bucket, "two", DATA[size : 2 * size], mode),
        "the same bytes": write(server, bucket, "three", DATA[:size], mode),
        "another bucket": write(server, elsewhere, "one", DATA[size : 2 * size], mode),
        "another version": write(server, bucket, "one", DATA[2 * size : 3 * size], mode),
        "another encryption": write(server, bucket, "four", DATA[:size], Mode(secrets.token_bytes(32))),
    }
    version = next(
        each["VersionId"]
        for each in server.s3().list_object_versions(Bucket=bucket, Prefix="one")["Versions"]
        if not each["IsLatest"]
    )
    target = f"{placed.target}?versionId={version}"
    (file,) = placed.files
    for other in others.values():
        for splice in (whole_file, all_but_the_header, only_the_header):
            undo = damaged(file, splice(other.files[0]))
            try:
                check_reads(server, target, placed.stored)
            finally:
                undo()
    assert server.send("GET", target, headers=mode.headers).body == DATA[:size]


def whole_file(other: Path) -> Damage:
    return lambda path: rewrite(path, other.read_bytes())


def all_but_the_header(other: Path) -> Damage:
    return lambda path: rewrite(path, path.read_bytes()[:HEADER] + other.read_bytes()[HEADER:])


def only_the_header(other: Path) -> Damage:
    return lambda path: rewrite(path, other.read_bytes()[:HEADER] + path.read_bytes()[HEADER:])


def test_damage_to_one_part_of_several(server: Server, bucket: str, mode: Mode) -> None:
    """Parts of one size in other places, of other uploads, and damaged: only what lies in the others is right."""
    bodies = [DATA[: 5 * MIB], DATA[5 * MIB : 10 * MIB], DATA[10 * MIB : 10 * MIB + 100_000]]
    placed = write_parts(server, bucket, "parts", bodies, mode)
    other = write_parts(server, bucket, "other parts", [DATA[10 * MIB : 15 * MIB], DATA[: 5 * MIB]], mode)
    first, second, last = placed.files
    cases: list[tuple[int, Path, Damage]] = [
        (1, first, whole_file(second)),
        (2, second, whole_file(first)),
        (1, first, whole_file(other.files[0])),  # the same number
        (1, first, whole_file(other.files[1])),  # the same bytes
        (2, second, all_but_the_header(first)),
        (2, second, only_the_header(other.files[1])),
        (1, first, flip(-1)),
        (2, second, flip(HEADER)),
        (3, last, flip(-1)),
        (2, second, cut(lambda size: size - 1)),
        (3, last, Path.unlink),
    ]
    for number, file, damage in cases:
        undo = damaged(file, damage)
        try:
            check_parts(server, placed, bodies, number)
        finally:
            undo()
    assert server.send("GET", placed.target, headers=mode.headers).body == placed.stored.body


def check_parts(server: Server, placed: Placed, bodies: list[bytes], damaged_number: int) -> None:
    headers = placed.stored.mode.headers
    check_no_wrong_byte(server.send("GET", placed.target, headers=headers), placed.stored.body, whole=True)
    for number, body in enumerate(bodies, start=1):
        reply = server.send("GET", f"{placed.target}?partNumber={number}", headers=headers)
        check_no_wrong_byte(reply, body, whole=number == damaged_number)
        if number != damaged_number:
            assert reply.complete
            assert reply.body == body
    border = sum(map(len, bodies[: damaged_number - 1]))
    across = {**headers, "range": f"bytes={max(border - 1, 0)}-{border + len(bodies[damaged_number - 1])}"}
    right = placed.stored.body[max(border - 1, 0) : border + len(bodies[damaged_number - 1]) + 1]
    check_no_wrong_byte(server.send("GET", placed.target, headers=across), right, whole=True)


# --- two layers


def test_the_blobs_of_one_layer_and_of_two_do_not_change_places(
    server: Server, bucket: str, modes: dict[str, Mode]
) -> None:
    """One size on the disk, one layer here and two there."""
    one = write(server, bucket, "one", DATA[: ciphertext_size(50_000)], modes["SSE-KMS"])
    two = write(server, bucket, "two", DATA[:50_000], modes["DSSE"])
    (first,), (second,) = one.files, two.files
    assert first.stat().st_size == second.stat().st_size
    for placed, other in ((one, second), (two, first)):
        (file,) = placed.files
        for splice in (whole_file, all_but_the_header, only_the_header):
            undo = damaged(file, splice(other))
            try:
                check_reads(server, placed.target, placed.stored)
            finally:
                undo()
        assert server.send("GET", placed.target).body == placed.stored.body


@pytest.mark.parametrize("size", [1, SEGMENT - 72, 100_000])
def test_a_bit_anywhere_in_two_layers(server: Server, bucket: str, modes: dict[str, Mode], size: int) -> None:
    """The headers of both, the segments and tags of both: every place of a small message, and a sample of a large one."""
    placed = write(server, bucket, "layers", DATA[:size], modes["DSSE"])
    (file,) = placed.files
    length = file.stat().st_size
    places = range(length) if length < 400 else sorted({0, HEADER, 2 * HEADER, 16455, 16456, *range(0, length, 4999)})
    for offset in places:
        undo = damaged(file, flip(offset))
        try:
            reply = server.send("GET", placed.target)
            check_no_wrong_byte(reply, placed.stored.body, whole=True)
            assert reply.status == 500
        finally:
            undo()
    assert server.send("GET", placed.target).body == DATA[:size]
