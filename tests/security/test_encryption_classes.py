"""What went wrong with other servers' encryption, looked for in ours: the classes E1 to E9.

Damage to stored bytes (E4) has a matrix of its own, tests/matrix/test_wrong_bytes.py; plaintext at rest (E3) is
tests/matrix/test_plaintext_at_rest.py; key commitment (E5) is in the vectors of tests/unit/crypto/test_segments.py.
"""

import base64
import inspect
import secrets
from pathlib import Path

import pytest

from strongroom.config import Settings
from strongroom.crypto import rows, sealing, segments
from strongroom.crypto.sealing import seal_bucket_secret, seal_object_key, seal_object_key_sse_c
from strongroom.server.paths import StartError
from strongroom.server.store import initialise
from tests.harness import customer_key_headers
from tests.security.inprocess import Store, opened

CONTENT = bytes(range(256)) * 256  # four segments


@pytest.fixture
def store(tmp_path: Path):
    with opened(tmp_path / "data") as store:
        assert store.send("PUT", "/bucket").status == 200
        yield store


def new_blobs(store: Store, *arguments: str, **more) -> list[bytes]:
    """The bytes that one request wrote."""
    before = store.blobs().keys()
    assert store.send(*arguments, **more).status == 200
    after = store.blobs()
    return [after[name].read_bytes() for name in after.keys() - before]


# --- E1: no key, no service


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    initialise(tmp_path / "data", Settings())
    return tmp_path / "data"


def key_file(data_dir: Path) -> Path:
    (path,) = (data_dir / "s3" / "keys").iterdir()
    return path


def test_e1_without_its_key_a_store_does_not_open_and_gets_no_new_one__rustfs_3551(data_dir: Path) -> None:
    path = key_file(data_dir)
    kept = path.read_bytes()
    path.unlink()
    for _ in range(2):
        with pytest.raises(StartError, match="store key"):
            initialise(data_dir, Settings())
        assert list(path.parent.iterdir()) == []
    path.write_bytes(kept)
    path.chmod(0o600)
    initialise(data_dir, Settings())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        base64.b64encode(bytes(32)),
        base64.b64encode(b"\xff" * 32),
        base64.b64encode(b"a passphrase of 32 characters !!"),
        base64.b64encode(secrets.token_bytes(16)),
        base64.b64encode(secrets.token_bytes(33)),
        b"not base64 at all",
        base64.b64encode(secrets.token_bytes(32)),
    ],
    ids=["empty", "blank", "zeros", "ones", "passphrase", "short", "long", "not-base64", "another"],
)
def test_e1_a_key_file_that_holds_something_else_is_refused(data_dir: Path, content: bytes) -> None:
    path = key_file(data_dir)
    path.write_bytes(content)
    with pytest.raises(StartError) as refusal:
        initialise(data_dir, Settings())
    assert path.read_bytes() == content
    if content.strip():
        assert content.decode() not in str(refusal.value)


def test_e1_a_key_that_cannot_be_read_never_counts_as_absent(data_dir: Path) -> None:
    """F2 too: a transient error must not make a new root."""
    path = key_file(data_dir)
    path.unlink()
    path.mkdir()
    with pytest.raises(StartError):
        initialise(data_dir, Settings())
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("value", [None, "", "AAAA", base64.b64encode(bytes(32)).decode(), "password"])
def test_e1_a_key_of_the_environment_is_there_and_random_or_nothing_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("STRONGROOM_STORE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("STRONGROOM_STORE_KEY", value)
    with pytest.raises(StartError):
        initialise(tmp_path / "data", Settings(store_key_source="environment"))


def test_e1_a_key_that_others_may_read_is_refused(data_dir: Path) -> None:
    key_file(data_dir).chmod(0o640)
    with pytest.raises(StartError, match="chmod 600"):
        initialise(data_dir, Settings())


def test_e1_a_new_index_does_not_take_over_the_blobs_of_a_lost_one(data_dir: Path) -> None:
    with opened(data_dir) as store:
        store.send("PUT", "/bucket")
        store.send("PUT", "/bucket/object", body=b"content")
    for path in (data_dir / "s3").glob("index.db*"):
        path.unlink()
    with pytest.raises(StartError, match="missing"):
        initialise(data_dir, Settings())


# --- E2: nothing is encrypted twice alike


@pytest.mark.parametrize("headers", [{}, customer_key_headers(b"k" * 32)], ids=["sse-s3", "sse-c"])
def test_e2_the_same_bytes_twice_are_two_ciphertexts__rustfs_4576(store: Store, headers: dict[str, str]) -> None:
    written = []
    for _ in range(3):
        written += new_blobs(store, "PUT", "/bucket/object", headers=headers, body=CONTENT)
    upload = store.send("POST", "/bucket/object?uploads", headers=headers).element("UploadId")
    for _ in range(3):
        target = f"/bucket/object?partNumber=1&uploadId={upload}"
        written += new_blobs(store, "PUT", target, headers=headers, body=CONTENT)
    assert len(written) == 6
    blocks = [blob[start : start + 16] for blob in written for start in range(0, len(blob) - 15, 16)]
    assert len(set(blocks)) == len(blocks)


def test_e2_a_body_of_equal_blocks_shows_none(store: Store) -> None:
    (blob,) = new_blobs(store, "PUT", "/bucket/object", body=bytes(200_000))
    blocks = [blob[start : start + 16] for start in range(0, len(blob) - 15, 16)]
    assert len(set(blocks)) == len(blocks)


def test_e2_a_key_sealed_twice_is_sealed_under_two_nonces() -> None:
    """E1's other half: wrap nonces are unique."""
    key, wrapping, identity = secrets.token_bytes(32), secrets.token_bytes(32), bytes(16)
    sealed = {
        *(seal_object_key(wrapping, key, bucket_id=identity, object_id=identity, version=1) for _ in range(500)),
        *(seal_object_key_sse_c(wrapping, key, bucket_id=identity, object_id=identity) for _ in range(500)),
        *(
            seal_bucket_secret(wrapping, key, store_id=identity, bucket_id=identity, version=1, store_key_id=identity)
            for _ in range(500)
        ),
    }
    assert len({message[5:29] for message in sealed}) == 1500


def test_e2_the_same_customer_key_for_two_objects_wraps_under_two_keys(store: Store) -> None:
    headers = customer_key_headers(b"k" * 32)
    (first,) = new_blobs(store, "PUT", "/bucket/first", headers=headers, body=CONTENT)
    (second,) = new_blobs(store, "PUT", "/bucket/second", headers=headers, body=CONTENT)
    etags = {store.send("HEAD", f"/bucket/{name}", headers=headers).headers["etag"] for name in ("first", "second")}
    assert first[:56] != second[:56]
    assert len(etags) == 2  # an ETag that is equal for equal bytes would tell that they are


# --- E5, E6: nothing about the cipher is for anybody to choose


@pytest.mark.parametrize(
    "function",
    [
        *(getattr(sealing, name) for name in dir(sealing) if name.startswith("seal_")),
        segments.seal,
        segments.SegmentWriter.__init__,
        rows.RowSealer.__init__,
        rows.RowSealer.seal,
    ],
    ids=lambda function: function.__qualname__,
)
def test_e6_nobody_hands_in_a_nonce_a_salt_or_an_algorithm__vault_ghsa_v84f(function) -> None:
    forbidden = ("nonce", "iv", "salt", "algorithm", "cipher", "prefix")
    names = inspect.signature(function).parameters
    assert [name for name in names if any(word in name.lower().split("_") for word in forbidden)] == []


def test_e5_another_format_is_refused_and_never_guessed(store: Store) -> None:
    """Neither a sealed value nor a blob says how it is to be opened: the first byte is ours or it is an error."""
    store.send("PUT", "/bucket/object", body=CONTENT)
    (path,) = store.blobs().values()
    stored = path.read_bytes()
    path.chmod(0o600)
    for other in (b"\0" + stored[1:], stored[56:], b"", stored[:56], stored + stored[-16:], b"\x01" * len(stored)):
        path.write_bytes(other)
        reply = store.send("GET", "/bucket/object")
        assert reply.status == 500
        assert CONTENT[:64] not in reply.body
    path.write_bytes(stored)
    assert store.send("GET", "/bucket/object").body == CONTENT
