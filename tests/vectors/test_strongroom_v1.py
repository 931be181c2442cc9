"""tests/vectors/strongroom-v1.json: every stored value of format 1, and a second implementation that judges it.

The second one is written from docs/object-format.md, shares no line with the product, and is as plain as those pages: HKDF and CMAC's subkey
by hand, AES-GCM through another interface of the library, everything at once, salts and nonces as arguments. It writes each value of the file
to the byte; the product opens each, and writes the same where the system's random bytes are replaced by the file's. The file never changes:
whoever cannot pass with it reads a format that is not 1. What came with the KMS is in a file of its own, of which the same is true.
"""

import hashlib
import hmac
import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB, GCM

from strongroom.crypto import sealing
from strongroom.crypto.context import ctx
from strongroom.crypto.layers import LayeredReader, LayeredWriter, layered_span, split_header
from strongroom.crypto.rows import RowSealer
from strongroom.crypto.segments import SegmentReader, SegmentWriter, ciphertext_size, open_sealed, seal, whole

Case = dict[str, Any]  # names to hex text, numbers, or a list of hex texts

VECTORS: dict[str, list[Case]] = {
    section: cases
    for name in ("strongroom-v1.json", "strongroom-v1-kms.json")
    for section, cases in json.loads(Path(__file__).with_name(name).read_text()).items()
}


def _each(section: str) -> pytest.MarkDecorator:
    cases = VECTORS[section]
    return pytest.mark.parametrize("case", cases, ids=[case["name"] for case in cases])


def _bytes(case: Case, *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for name in names]


# --- the second implementation


def context(label: str, *fields: bytes) -> bytes:
    name = b"strongroom/1/" + label.encode()
    encoded = struct.pack(f">B{len(name)}sB", len(name), name, len(fields))
    for field in fields:
        encoded += struct.pack(f">I{len(field)}s", len(field), field)
    return encoded


def hkdf_expand(key: bytes, info: bytes, length: int) -> bytes:
    output = block = b""
    number = 1
    while len(output) < length:
        block = hmac.digest(key, block + info + bytes([number]), "sha512")
        output, number = output + block, number + 1
    return output[:length]


def gcm(key: bytes, nonce: bytes, plaintext: bytes, ad: bytes = b"") -> bytes:
    encryptor = Cipher(AES(key), GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(ad)
    return encryptor.update(plaintext) + encryptor.finalize() + encryptor.tag


def cobblestone(key: bytes, info: bytes, salt: bytes, plaintext: bytes) -> bytes:
    keys = hkdf_expand(key, b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + info, 76)
    message = salt + keys[44:]
    for number in range(len(plaintext) // 16384 + 1):
        nonce = bytes(a ^ b for a, b in zip(keys[32:44], struct.pack(">4xQ", number), strict=True))
        message += gcm(keys[:32], nonce, plaintext[number * 16384 : (number + 1) * 16384])
    return message


def xaes(key: bytes, nonce: bytes, plaintext: bytes, ad: bytes) -> bytes:
    block_cipher = Cipher(AES(key), ECB()).encryptor()  # "Detailed key derivation algorithm", steps 1 to 6
    doubled = int.from_bytes(block_cipher.update(bytes(16))) << 1
    k1 = (doubled ^ 0x87) & (2**128 - 1) if doubled >> 128 else doubled
    subkey = b""
    for counter in (1, 2):
        m = int.from_bytes(bytes([0, counter, 0x58, 0]) + nonce[:12])
        subkey += block_cipher.update((m ^ k1).to_bytes(16))
    return nonce + gcm(subkey, nonce[12:], plaintext, ad)


def stored_bucket_secret(case: Case) -> bytes:
    store_key, store_id, bucket_id, store_key_id = _bytes(case, "key", "store_id", "bucket_id", "store_key_id")
    version = struct.pack(">I", case["version"])
    info = context("bucket-secret", store_id, bucket_id, version, store_key_id)
    return b"\1" + version + store_key_id + cobblestone(store_key, info, *_bytes(case, "salt", "plaintext"))


def stored_object_key(case: Case) -> bytes:
    wrap_key, bucket_id, object_id = _bytes(case, "key", "bucket_id", "object_id")
    version = struct.pack(">I", case["version"])
    info = context("oek/sse-s3", bucket_id, object_id, bytes([case["layer"]]), version)
    return b"\1" + version + cobblestone(wrap_key, info, *_bytes(case, "salt", "plaintext"))


def stored_object_key_sse_c(case: Case) -> bytes:
    customer_key, kek_salt, bucket_id, object_id = _bytes(case, "key", "kek_salt", "bucket_id", "object_id")
    extracted = hmac.digest(kek_salt, customer_key, "sha512")
    kek = hkdf_expand(extracted, context("sse-c-kek", bucket_id, object_id), 32)
    info = context("oek/sse-c", bucket_id, object_id)
    return b"\1" + kek_salt + cobblestone(kek, info, *_bytes(case, "salt", "plaintext"))


def stored_object_key_bucket_key(case: Case) -> bytes:
    bucket_key, bucket_id, object_id, bucket_key_id = _bytes(case, "key", "bucket_id", "object_id", "bucket_key_id")
    info = context("oek/sse-kms-bucket", bucket_id, object_id, bucket_key_id)
    return b"\1" + bucket_key_id + cobblestone(bucket_key, info, *_bytes(case, "salt", "plaintext"))


def stored_checksums(case: Case) -> bytes:
    object_key, object_id = _bytes(case, "key", "object_id")
    info = context("checksums", object_id, struct.pack(">I", case["part_number"]))
    return b"\1" + cobblestone(object_key, info, *_bytes(case, "salt", "plaintext"))


def stored_row(case: Case) -> bytes:
    row_key, nonce, plaintext = _bytes(case, "key", "nonce", "plaintext")
    ad = context(case["label"], *map(bytes.fromhex, case["fields"]))
    return b"\1" + struct.pack(">I", case["version"]) + xaes(row_key, nonce, plaintext, ad)


def body(case: Case) -> bytes:
    object_key, object_id, salt = _bytes(case, "key", "object_id", "salt")
    info = context("body", object_id, struct.pack(">I", case["part_number"]), bytes([case["layer"]]))
    return cobblestone(object_key, info, salt, sample(case["size"]))


def layered_body(case: Case) -> bytes:
    inner_key, outer_key, object_id, inner_salt, outer_salt = _bytes(
        case, "inner_key", "outer_key", "object_id", "inner_salt", "outer_salt"
    )
    number = struct.pack(">I", case["part_number"])
    inner = cobblestone(inner_key, context("body", object_id, number, b"\0"), inner_salt, sample(case["size"]))
    return cobblestone(outer_key, context("body", object_id, number, b"\1"), outer_salt, inner)


def sample(size: int) -> bytes:
    """The plaintext of a body of that size: SHAKE-128 of "strongroom"."""
    return hashlib.shake_128(b"strongroom").digest(size)


STORED: dict[str, Callable[[Case], bytes]] = {
    "bucket_secrets": stored_bucket_secret,
    "object_keys": stored_object_key,
    "object_keys_sse_c": stored_object_key_sse_c,
    "object_keys_bucket_key": stored_object_key_bucket_key,
    "checksums": stored_checksums,
    "rows": stored_row,
}


# --- the product, called for each case of the file


def _ids(case: Case, *names: str) -> dict[str, bytes]:
    return dict(zip(names, _bytes(case, *names), strict=True))


def _bucket_secret(case: Case) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    names = _ids(case, "store_id", "bucket_id", "store_key_id")
    (key,) = _bytes(case, "key")
    return (
        partial(sealing.seal_bucket_secret, key, version=case["version"], **names),
        partial(sealing.open_bucket_secret, key, version=case["version"], **names),
    )


def _object_key(case: Case) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    names = _ids(case, "bucket_id", "object_id")
    (key,) = _bytes(case, "key")
    return (
        partial(sealing.seal_object_key, key, version=case["version"], layer=case["layer"], **names),
        partial(sealing.open_object_key, key, version=case["version"], layer=case["layer"], **names),
    )


def _object_key_sse_c(case: Case) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    names = _ids(case, "bucket_id", "object_id")
    (key,) = _bytes(case, "key")
    return partial(sealing.seal_object_key_sse_c, key, **names), partial(sealing.open_object_key_sse_c, key, **names)


def _object_key_bucket_key(case: Case) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    names = _ids(case, "bucket_id", "object_id", "bucket_key_id")
    (key,) = _bytes(case, "key")
    return (
        partial(sealing.seal_object_key_bucket_key, key, **names),
        partial(sealing.open_object_key_bucket_key, key, **names),
    )


def _checksums(case: Case) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    place = (*_bytes(case, "key", "object_id"), case["part_number"])
    return partial(sealing.seal_checksums, *place), partial(sealing.open_checksums, *place)


def _row(case: Case) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    ad = ctx(case["label"], *map(bytes.fromhex, case["fields"]))
    place = (RowSealer(*_bytes(case, "key")), case["version"], ad)
    return partial(sealing.seal_row, *place), partial(sealing.open_row, *place)


PRODUCT: dict[str, Callable[[Case], tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]]] = {
    "bucket_secrets": _bucket_secret,
    "object_keys": _object_key,
    "object_keys_sse_c": _object_key_sse_c,
    "object_keys_bucket_key": _object_key_bucket_key,
    "checksums": _checksums,
    "rows": _row,
}

STORED_CASES = [pytest.param(kind, case, id=f"{kind}-{case['name']}") for kind in STORED for case in VECTORS[kind]]


def _use_random_bytes(monkeypatch: pytest.MonkeyPatch, *values: bytes) -> None:
    """The next random bytes that anybody in the product draws."""
    queue = list(values)

    def urandom(size: int) -> bytes:
        value = queue.pop(0)
        assert len(value) == size
        return value

    for name in ("os.urandom", "strongroom.crypto.segments.urandom", "strongroom.crypto.sealing.urandom"):
        monkeypatch.setattr(name, urandom)


# --- the tests


@_each("contexts")
def test_context(case: Case) -> None:
    fields = [bytes.fromhex(field) for field in case["fields"]]
    assert context(case["label"], *fields).hex() == case["bytes"]
    assert ctx(case["label"], *fields).hex() == case["bytes"]


@_each("keys")
def test_derived_key(case: Case) -> None:
    secret, expected = _bytes(case, "secret", "key")
    fields = [bytes.fromhex(field) for field in case["fields"]]
    assert hkdf_expand(secret, context(case["label"], *fields), len(expected)) == expected
    match case["label"]:
        case "fingerprint":
            assert sealing.fingerprint(secret, fields[0].decode()) == expected
        case "bucket-wrap":
            assert sealing.wrap_key(secret, fields[0], int.from_bytes(fields[1])) == expected
        case "bucket-row":
            assert sealing.row_key(secret, fields[0], int.from_bytes(fields[1])) == expected
        case label:
            assert sealing.derive(secret, label, *fields) == expected


@pytest.mark.parametrize(("kind", "case"), STORED_CASES)
def test_stored_value__is_what_the_second_implementation_writes(kind: str, case: Case) -> None:
    assert STORED[kind](case).hex() == case["stored"]


@pytest.mark.parametrize(("kind", "case"), STORED_CASES)
def test_stored_value__opens(kind: str, case: Case) -> None:
    _, open_value = PRODUCT[kind](case)
    assert open_value(bytes.fromhex(case["stored"])).hex() == case["plaintext"]


@pytest.mark.parametrize(("kind", "case"), STORED_CASES)
def test_stored_value__is_what_we_write_with_those_random_bytes(
    monkeypatch: pytest.MonkeyPatch, kind: str, case: Case
) -> None:
    if kind == "rows":
        (nonce,) = _bytes(case, "nonce")
        drawn = [nonce[:12], nonce[12:]]
    else:
        drawn = _bytes(case, *(["kek_salt", "salt"] if kind == "object_keys_sse_c" else ["salt"]))
    _use_random_bytes(monkeypatch, *drawn)
    seal_value, _ = PRODUCT[kind](case)
    assert seal_value(bytes.fromhex(case["plaintext"])).hex() == case["stored"]


@_each("bodies")
def test_body(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    message = body(case)
    assert hashlib.sha256(message).hexdigest() == case["sha256"]
    object_key, object_id, salt = _bytes(case, "key", "object_id", "salt")
    info = sealing.body_context(object_id, case["part_number"], case["layer"])
    assert open_sealed(object_key, info, message) == sample(case["size"])
    _use_random_bytes(monkeypatch, salt)
    assert seal(object_key, info, sample(case["size"])) == message


@_each("layered_bodies")
def test_layered_body(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    message, size = layered_body(case), case["size"]
    assert hashlib.sha256(message).hexdigest() == case["sha256"]
    inner_key, outer_key, object_id = _bytes(case, "inner_key", "outer_key", "object_id")
    inner, outer = (sealing.body_context(object_id, case["part_number"], layer) for layer in (0, 1))
    _use_random_bytes(monkeypatch, *_bytes(case, "inner_salt", "outer_salt"))
    writer = LayeredWriter(SegmentWriter(inner_key, inner), SegmentWriter(outer_key, outer))
    assert writer.feed(sample(size)) + writer.finish() == message
    outer_header, inner_header = split_header(writer.header)
    around = layered_span(size, whole(size))
    reader = LayeredReader(
        SegmentReader(inner_key, inner, inner_header, size, whole(size)),
        SegmentReader(outer_key, outer, outer_header, ciphertext_size(size), around),
    )
    assert reader.feed(message) + reader.finish() == sample(size)
