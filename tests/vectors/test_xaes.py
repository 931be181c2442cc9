"""The published vectors of c2sp.org/XAES-256-GCM: both worked examples, and the accumulated test of 10,000 random messages."""

import hashlib
from collections.abc import Iterator

import pytest

from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.rows import RowSealer

NONCE = b"ABCDEFGHIJKLMNOPQRSTUVWX"
EXAMPLES = [
    pytest.param(b"\x01" * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271", id="msb-0"),
    pytest.param(
        b"\x03" * 32,
        b"c2sp.org/XAES-256-GCM",
        "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        id="msb-1",
    ),
]
ACCUMULATED_10_000 = "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"


def _seal(monkeypatch: pytest.MonkeyPatch, key: bytes, nonce: bytes, plaintext: bytes, ad: bytes) -> bytes:
    """Seals with a chosen nonce, which the interface does not allow: the system's random bytes are replaced."""
    halves = iter((nonce[:12], nonce[12:]))
    monkeypatch.setattr("os.urandom", lambda _size: next(halves))
    return RowSealer(key).seal(plaintext, ad)


@pytest.mark.parametrize(("key", "ad", "ciphertext"), EXAMPLES)
def test_example(monkeypatch: pytest.MonkeyPatch, key: bytes, ad: bytes, ciphertext: str) -> None:
    message = NONCE + bytes.fromhex(ciphertext)
    assert _seal(monkeypatch, key, NONCE, b"XAES-256-GCM", ad) == message
    monkeypatch.undo()
    assert RowSealer(key).open(message, ad) == b"XAES-256-GCM"
    with pytest.raises(IntegrityError):
        RowSealer(key).open(message, ad + b"?")


def test_accumulated(monkeypatch: pytest.MonkeyPatch) -> None:
    ciphertexts = hashlib.shake_128()
    for key, nonce, plaintext, ad in _random_inputs(10_000):
        message = _seal(monkeypatch, key, nonce, plaintext, ad)
        ciphertexts.update(message[24:])
    assert ciphertexts.hexdigest(32) == ACCUMULATED_10_000


def _random_inputs(count: int) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
    """SHAKE-128 of nothing, read as `opaque key[32]; opaque nonce[24]; opaque plaintext<0..255>; opaque aad<0..255>`."""
    stream = hashlib.shake_128().digest(count * (32 + 24 + 256 + 256))
    position = 0

    def take(size: int) -> bytes:
        nonlocal position
        position += size
        return stream[position - size : position]

    for _ in range(count):
        yield take(32), take(24), take(take(1)[0]), take(take(1)[0])
