"""What lies on the disk of an object: its size tells the layers, and the same bytes never make the same ciphertext."""

from pathlib import Path

from tests.harness import Server
from tests.matrix.test_encryption_matrix import DATA, SEGMENT, check_described
from tests.matrix.verbs import Mode, place, put


def blobs(server: Server) -> set[Path]:
    return set((server.data_dir / "s3" / "blobs").glob("??/*"))


def test_the_same_bytes_twice_are_different_ciphertext(server: Server, bucket: str, mode: Mode) -> None:
    before = blobs(server)
    stored = [put(server, bucket, "same", DATA[:40_000], mode), put(server, bucket, "other", DATA[:40_000], mode)]
    first, second = (path.read_bytes() for path in blobs(server) - before)
    assert (stored[0].etag == stored[1].etag) == mode.shows_md5
    assert not {first[start : start + 16] for start in range(0, len(first), 16)} & {
        second[start : start + 16] for start in range(0, len(second), 16)
    }


def test_a_blob_has_the_size_of_its_layers(server: Server, bucket: str, mode: Mode) -> None:
    def message(size: int) -> int:
        return 56 + size + 16 * (size // SEGMENT + 1)

    for size in (0, 1, 16312, 16313, 100_000):
        before = blobs(server)
        stored = put(server, bucket, f"size-{size}", DATA[:size], mode)
        (blob,) = blobs(server) - before
        assert blob.stat().st_size == (message(message(size)) if mode.dsse else message(size))
        check_described(server.send("HEAD", place(bucket, f"size-{size}"), headers=mode.headers), stored)
