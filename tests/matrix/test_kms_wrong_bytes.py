"""Wrong bytes never leave: the damages of `test_wrong_bytes` for SSE-KMS, bucket keys and two layers, and those that only
two layers have.
"""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.crypto.layers import layered_size
from strongroom.crypto.segments import ciphertext_size
from tests.harness import Server, unique_bucket
from tests.kms_serving import serving_kms
from tests.matrix.test_wrong_bytes import (
    ANYWHERE,
    HEADER,
    IN_SEGMENTS,
    Placed,
    check_copies,
    check_no_wrong_byte,
    check_reads,
    damaged,
    flip,
    write,
    write_parts,
)
from tests.matrix.verbs import MIB, Mode
from tests.memory_kms import MemoryKms

DATA = random.Random(23).randbytes(6 * MIB)
NAMES = ["SSE-KMS", "bucket-key", "DSSE"]


@pytest.fixture(scope="module")
def kms() -> MemoryKms:
    return MemoryKms()


@pytest.fixture(scope="module")
def server(kms: MemoryKms, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving_kms(tmp_path_factory.mktemp("damaged"), kms) as started:
        yield started


@pytest.fixture(scope="module")
def modes(kms: MemoryKms) -> dict[str, Mode]:
    arn = kms.create()
    return {
        "SSE-KMS": Mode(kms_key=arn),
        "bucket-key": Mode(kms_key=arn, bucket_key=True),
        "DSSE": Mode(kms_key=arn, dsse=True),
    }


@pytest.fixture
def bucket(server: Server) -> str:
    name = unique_bucket()
    server.s3().create_bucket(Bucket=name)
    return name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0, 1, 13, 16311, 16312, 16384, 16385])
def test_damage_to_a_small_object(server: Server, bucket: str, modes: dict[str, Mode], name: str, size: int) -> None:
    placed = write(server, bucket, "small", DATA[:size], modes[name])
    (file,) = placed.files
    for damage in ANYWHERE.values():
        undo = damaged(file, damage)
        try:
            check_reads(server, placed.target, placed.stored)
        finally:
            undo()
    assert server.send("GET", placed.target).body == DATA[:size]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", [*ANYWHERE, *IN_SEGMENTS])
@pytest.mark.parametrize("size", [100_000, 6 * MIB])
def test_damage_to_an_object_of_some_segments(
    server: Server, bucket: str, modes: dict[str, Mode], name: str, damage: str, size: int
) -> None:
    placed = write(server, bucket, "some", DATA[:size], modes[name])
    (file,) = placed.files
    (ANYWHERE | IN_SEGMENTS)[damage](file)
    check_reads(server, placed.target, placed.stored)
    if size == 100_000:
        check_copies(server, bucket, placed.target, placed.stored)


@pytest.mark.parametrize("name", NAMES)
def test_the_blobs_of_two_objects_do_not_change_places(
    server: Server, bucket: str, modes: dict[str, Mode], name: str
) -> None:
    placed = [
        write(server, bucket, key, DATA[start : start + 50_000], modes[name]) for key, start in (("a", 0), ("b", 1))
    ]
    spliced(server, placed)


@pytest.mark.parametrize("name", NAMES)
def test_the_blobs_of_two_parts_do_not_change_places(
    server: Server, bucket: str, modes: dict[str, Mode], name: str
) -> None:
    body = DATA[: 5 * MIB]
    placed = write_parts(server, bucket, "parts", [body, body], modes[name])
    first, second = placed.files
    swap(first, second)
    check_no_wrong_byte(server.send("GET", placed.target), body + body, whole=True)
    for number in (1, 2):
        check_no_wrong_byte(server.send("GET", f"{placed.target}?partNumber={number}"), body, whole=True)


def test_the_blobs_of_two_modes_do_not_change_places(server: Server, bucket: str, modes: dict[str, Mode]) -> None:
    """One size on the disk, one layer here and two there."""
    inner_size = 50_000
    assert layered_size(inner_size) == ciphertext_size(ciphertext_size(inner_size))
    one = write(server, bucket, "one", DATA[: ciphertext_size(inner_size)], modes["SSE-KMS"])
    two = write(server, bucket, "two", DATA[:inner_size], modes["DSSE"])
    assert one.files[0].stat().st_size == two.files[0].stat().st_size
    spliced(server, [one, two])


def spliced(server: Server, placed: list[Placed]) -> None:
    for each in placed:
        assert server.send("GET", each.target).body == each.stored.body
    swap(placed[0].files[0], placed[1].files[0])
    for each in placed:
        check_reads(server, each.target, each.stored)


def swap(first: Path, second: Path) -> None:
    kept = first.with_name(".kept")
    shutil.copyfile(first, kept)
    shutil.copyfile(second, first)
    shutil.copyfile(kept, second)
    kept.unlink()


@pytest.mark.parametrize("size", [1, 16312, 100_000])
def test_a_bit_anywhere_in_two_layers(server: Server, bucket: str, modes: dict[str, Mode], size: int) -> None:
    """The headers of both, the segments and tags of both: every place of a small message, and a sample of a large one."""
    placed = write(server, bucket, "layers", DATA[:size], modes["DSSE"])
    (file,) = placed.files
    length = file.stat().st_size
    places = range(length) if length < 400 else sorted({0, HEADER, 2 * HEADER, 16455, 16456, *range(0, length, 4999)})
    for place in places:
        undo = damaged(file, flip(place))
        try:
            reply = server.send("GET", placed.target)
            check_no_wrong_byte(reply, placed.stored.body, whole=True)
            assert reply.status == 500
        finally:
            undo()
    assert server.send("GET", placed.target).body == DATA[:size]
