"""The matrix for objects under a key service: SSE-KMS, with a bucket key, and in two layers (DSSE-KMS).

Every way to write, every size about a border of one layer or of the other, each object read all ways.
"""

from collections.abc import Iterator

import pytest

from tests.harness import Server, unique_bucket
from tests.kms_serving import serving_kms
from tests.matrix.test_encryption_matrix import (
    DATA,
    check_described,
    check_keys,
    check_listed,
    check_parts,
    check_range,
    check_whole,
    ranges,
)
from tests.matrix.verbs import MIB, VERBS, Mode, Stored, copied_from, copy, place, put
from tests.memory_kms import MemoryKms

SEGMENT = 16384
# 16312 and 32680 plaintext bytes make inner messages of 16384 and 32768: borders of the outer layer's segments.
SIZES = [0, 1, 13, 16311, 16312, 16313, 16383, 16384, 16385, 32680, 5 * MIB + 1, 20 * MIB]
NAMES = ["SSE-KMS", "bucket-key", "DSSE"]


@pytest.fixture(scope="module")
def kms() -> MemoryKms:
    return MemoryKms()


@pytest.fixture(scope="module")
def kms_server(kms: MemoryKms, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving_kms(tmp_path_factory.mktemp("kms"), kms) as started:
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
def bucket(kms_server: Server) -> str:
    name = unique_bucket()
    kms_server.s3().create_bucket(Bucket=name)
    return name


def layered_ranges(size: int) -> Iterator[str]:
    """About every plaintext offset whose place in the inner message is a border of the outer one's segments."""
    for outer in range(SEGMENT, min(size, 8 * SEGMENT) + SEGMENT, SEGMENT):
        inner = outer - 56
        offset = inner // (SEGMENT + 16) * SEGMENT + min(inner % (SEGMENT + 16), SEGMENT)
        for edge in (offset - 1, offset, offset + 1):
            if 0 <= edge < size:
                yield f"bytes={edge}-{edge}"
                yield f"bytes={max(edge - 3, 0)}-{min(edge + 3, size - 1)}"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "put-over-tls"])
@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_read(
    kms_server: Server, bucket: str, modes: dict[str, Mode], name: str, verb: str, size: int
) -> None:
    stored = VERBS[verb](kms_server, bucket, "an/object", DATA[:size], modes[name])
    target = place(bucket, "an/object")

    check_whole(kms_server, target, stored, tls=False)
    for wanted in [*ranges(stored), *layered_ranges(size)]:
        check_range(kms_server, target, stored, wanted)
    check_parts(kms_server, target, stored)
    check_keys(kms_server, target, stored)
    check_listed(kms_server, bucket, stored)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_copies_and_parts_of_objects_under_a_key_service(
    kms_server: Server, bucket: str, kms: MemoryKms, modes: dict[str, Mode], name: str, source: str
) -> None:
    other = Mode(kms_key=kms.create(), bucket_key=modes[name].bucket_key, dsse=modes[name].dsse)
    stored = copied_from(modes[source])(kms_server, bucket, "copy", DATA[:100_001], other)
    check_whole(kms_server, place(bucket, "copy"), stored, tls=False)
    onto_itself = copy(kms_server, bucket, "copy", place(bucket, "copy"), stored, modes[source])
    check_whole(kms_server, place(bucket, "copy"), onto_itself, tls=False)
    assert onto_itself.etag != stored.etag


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bytes_twice_are_different_ciphertext_under_different_etags(
    kms_server: Server, bucket: str, modes: dict[str, Mode], name: str
) -> None:
    def blobs() -> set[bytes]:
        return {path.read_bytes() for path in (kms_server.data_dir / "s3" / "blobs").glob("??/*")}

    before = blobs()
    stored: list[Stored] = [put(kms_server, bucket, "same", DATA[:40_000], modes[name]) for _ in range(2)]
    first, second = blobs() - before
    assert stored[0].etag != stored[1].etag
    assert not {first[start : start + 16] for start in range(0, len(first), 16)} & {
        second[start : start + 16] for start in range(0, len(second), 16)
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_blob_has_the_size_of_its_layers(
    kms_server: Server, bucket: str, modes: dict[str, Mode], name: str
) -> None:
    def message(size: int) -> int:
        return 56 + size + 16 * (size // SEGMENT + 1)

    directory = kms_server.data_dir / "s3" / "blobs"
    for size in (0, 1, 16312, 16313, 100_000):
        before = set(directory.glob("??/*"))
        reply = put(kms_server, bucket, f"size-{size}", DATA[:size], modes[name])
        (blob,) = set(directory.glob("??/*")) - before
        assert blob.stat().st_size == (message(message(size)) if modes[name].dsse else message(size))
        check_described(kms_server.send("HEAD", place(bucket, f"size-{size}")), reply)
