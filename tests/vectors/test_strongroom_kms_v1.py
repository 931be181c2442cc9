"""tests/vectors/strongroom-kms-v1.json: every stored value of the key service in format 1, and the second implementation of
test_strongroom_v1.py, extended by what docs/object-format.md says of the key service, that judges it.

It writes each value of the file to the byte; the product opens each, and writes the same where the system's random bytes
are replaced by the file's. The file never changes.
"""

import hmac
import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from strongroom.crypto import kms_sealing
from strongroom.crypto.kms_sealing import BlobPlace, MaterialPlace, RecordPlace
from strongroom.crypto.rows import RowSealer
from strongroom.crypto.sealing import fingerprint
from strongroom.kms.slots import Passphrase, encode_source, passphrase_key
from tests.vectors.test_strongroom_v1 import cobblestone, context, hkdf_expand, xaes

Case = dict[str, Any]

VECTORS: dict[str, list[Case]] = json.loads(Path(__file__).with_name("strongroom-kms-v1.json").read_text())


def _each(section: str) -> pytest.MarkDecorator:
    cases = VECTORS[section]
    return pytest.mark.parametrize("case", cases, ids=[case["name"] for case in cases])


def _bytes(case: Case, *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for name in names]


# --- the second implementation


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


def canonical(pairs: dict[str, str]) -> bytes:
    encoded = u32(len(pairs))
    for name in sorted(name.encode() for name in pairs):
        for word in (name, pairs[name.decode()].encode()):
            encoded += u32(len(word)) + word
    return encoded


def stored_slot(case: Case) -> bytes:
    key, store_id, slot_id, parameters = _bytes(case, "key", "store_id", "slot_id", "parameters")
    version = u32(case["root_version"])
    info = context("kms/slot", store_id, slot_id, case["kind"].encode(), parameters, version)
    return b"\1" + version + cobblestone(key, info, *_bytes(case, "salt", "plaintext"))


def stored_record(case: Case) -> bytes:
    root, store_id, key_id, nonce, plaintext = _bytes(case, "root", "store_id", "key_id", "nonce", "plaintext")
    version = u32(case["root_version"])
    ad = context(
        "kms/" + case["kind"],
        store_id,
        case["record_id"].encode(),
        key_id,
        struct.pack(">Q", case["revision"]),
        version,
    )
    return b"\1" + version + xaes(hkdf_expand(root, context("kms-record"), 32), nonce, plaintext, ad)


def stored_material(case: Case) -> bytes:
    root, store_id, key_id, material_id = _bytes(case, "root", "store_id", "key_id", "material_id")
    version = u32(case["root_version"])
    words = [case[name].encode() for name in ("spec", "usage", "origin")]
    info = context("kms/material", store_id, case["account"].encode(), key_id, material_id, *words, version)
    key = hkdf_expand(root, context("kms-material"), 32)
    return b"\1" + version + cobblestone(key, info, *_bytes(case, "salt", "plaintext"))


def stored_blob(case: Case) -> bytes:
    material, key_id, material_id = _bytes(case, "material", "key_id", "material_id")
    info = context(
        "kms/blob",
        case["account"].encode(),
        case["region"].encode(),
        key_id,
        material_id,
        b"SYMMETRIC_DEFAULT",
        canonical(case["encryption_context"]),
    )
    return b"\1" + key_id + material_id + cobblestone(material, info, *_bytes(case, "salt", "plaintext"))


def imported(case: Case) -> bytes:
    material, key_id, material_id = _bytes(case, "material", "key_id", "material_id")
    extracted = hmac.digest(key_id + material_id, material, "sha512")
    return hkdf_expand(extracted, context("kms-imported", key_id, material_id), 32)


STORED: dict[str, Callable[[Case], bytes]] = {
    "slots": stored_slot,
    "records": stored_record,
    "materials": stored_material,
    "blobs": stored_blob,
}


# --- the product, called for each case of the file: how it seals, and how it opens


Functions = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]


def _slot(case: Case) -> Functions:
    key, store_id, slot_id, parameters = _bytes(case, "key", "store_id", "slot_id", "parameters")
    place: Any = {
        "store_id": store_id,
        "slot_id": slot_id,
        "kind": case["kind"],
        "parameters": parameters,
        "root_version": case["root_version"],
    }
    return partial(kms_sealing.seal_root, key, **place), partial(kms_sealing.open_root, key, **place)


def _record(case: Case) -> Functions:
    root, store_id, key_id = _bytes(case, "root", "store_id", "key_id")
    place = RecordPlace(
        kind=case["kind"],
        record_id=case["record_id"],
        key_id=key_id,
        revision=case["revision"],
        root_version=case["root_version"],
    )
    sealer = RowSealer(kms_sealing.record_key(root))
    return (
        partial(kms_sealing.seal_record, sealer, store_id=store_id, place=place),
        partial(kms_sealing.open_record, sealer, store_id=store_id, place=place),
    )


def _material(case: Case) -> Functions:
    root, store_id, key_id, material_id = _bytes(case, "root", "store_id", "key_id", "material_id")
    place = MaterialPlace(
        account=case["account"],
        key_id=key_id,
        material_id=material_id,
        spec=case["spec"],
        usage=case["usage"],
        origin=case["origin"],
    )
    rest: Any = {"store_id": store_id, "place": place, "root_version": case["root_version"]}
    key = kms_sealing.material_key(root)
    return partial(kms_sealing.seal_material, key, **rest), partial(kms_sealing.open_material, key, **rest)


def _blob(case: Case) -> Functions:
    material, key_id, material_id = _bytes(case, "material", "key_id", "material_id")
    place = BlobPlace(
        account=case["account"],
        region=case["region"],
        key_id=key_id,
        material_id=material_id,
        context=kms_sealing.canonical_context(case["encryption_context"]),
    )
    return (
        lambda plaintext: kms_sealing.seal_blob(material, plaintext, place),
        lambda stored: kms_sealing.open_blob(material, kms_sealing.parse_blob(stored), place),
    )


PRODUCT: dict[str, Callable[[Case], Functions]] = {
    "slots": _slot,
    "records": _record,
    "materials": _material,
    "blobs": _blob,
}


@pytest.mark.parametrize(
    ("section", "case"),
    [(section, case) for section in STORED for case in VECTORS[section]],
    ids=[f"{section}: {case['name']}" for section in STORED for case in VECTORS[section]],
)
def test_stored_values_are_written_and_opened_by_both(
    section: str, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, plaintext = _bytes(case, "stored", "plaintext")
    assert STORED[section](case) == stored
    _, unseal = PRODUCT[section](case)
    assert unseal(stored) == plaintext
    random = bytes.fromhex(case["nonce" if section == "records" else "salt"])
    halves = iter([random[:12], random[12:]])
    monkeypatch.setattr("strongroom.crypto.segments.urandom", lambda _size: random)
    monkeypatch.setattr("os.urandom", lambda _size: next(halves))
    seal, _ = PRODUCT[section](case)
    assert seal(plaintext) == stored


@_each("encryption_contexts")
def test_canonical_encryption_contexts(case: Case) -> None:
    assert canonical(case["pairs"]) == kms_sealing.canonical_context(case["pairs"]) == bytes.fromhex(case["bytes"])
    backwards = dict(reversed(case["pairs"].items()))
    assert kms_sealing.canonical_context(backwards) == bytes.fromhex(case["bytes"])


@_each("imported_keys")
def test_imported_material_enters_by_extract(case: Case) -> None:
    material, key_id, material_id, key = _bytes(case, "material", "key_id", "material_id", "key")
    assert imported(case) == kms_sealing.imported_key(material, key_id=key_id, material_id=material_id) == key


@_each("fingerprints")
def test_fingerprints(case: Case) -> None:
    (key, expected) = _bytes(case, "key", "fingerprint")
    assert hkdf_expand(key, context("fingerprint", case["purpose"].encode()), 16) == expected
    assert fingerprint(key, case["purpose"]) == expected


@_each("passphrases")
def test_keys_of_passphrase_slots(case: Case) -> None:
    """The parameters are what #15 binds: a MessagePack array of the word, the salt and the three numbers."""
    salt, parameters, key = _bytes(case, "salt", "parameters", "key")
    kdf = Argon2id(
        salt=salt,
        length=32,
        memory_cost=case["memory_kib"],
        iterations=case["iterations"],
        lanes=case["lanes"],
    )
    assert kdf.derive(case["passphrase"].encode()) == key
    source = Passphrase(salt=salt, memory_kib=case["memory_kib"], iterations=case["iterations"], lanes=case["lanes"])
    assert encode_source(source) == parameters
    with passphrase_key(case["passphrase"], source) as derived:
        assert derived.material == key
