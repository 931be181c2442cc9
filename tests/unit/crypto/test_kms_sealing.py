"""strongroom.crypto.kms_sealing: what each value is bound to, one bound thing changed at a time."""

from dataclasses import replace
from typing import Any

import pytest

from strongroom.crypto import kms_sealing
from strongroom.crypto.errors import IntegrityError, KeyMismatch, UnknownFormat
from strongroom.crypto.kms_sealing import (
    BlobPlace,
    MaterialPlace,
    RecordPlace,
    canonical_context,
    open_blob,
    parse_blob,
    raw_key_id,
    seal_blob,
)
from strongroom.crypto.rows import RowSealer

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
STORE, OTHER_STORE = b"s" * 16, b"t" * 16
KEY_ID, OTHER_KEY_ID = b"k" * 16, b"l" * 16
MATERIAL_ID, OTHER_MATERIAL_ID = b"m" * 32, b"n" * 32
CONTEXT = canonical_context({"aws:s3:arn": "arn:aws:s3:::bucket/key"})
BLOB = BlobPlace(account="1" * 12, region="us-east-1", key_id=KEY_ID, material_id=MATERIAL_ID, context=CONTEXT)
MATERIAL = MaterialPlace(
    account="1" * 12,
    key_id=KEY_ID,
    material_id=MATERIAL_ID,
    spec="SYMMETRIC_DEFAULT",
    usage="ENCRYPT_DECRYPT",
    origin="AWS_KMS",
)
RECORD = RecordPlace(kind="key", record_id="id", key_id=KEY_ID, revision=7, root_version=1)
SLOT: dict[str, Any] = {
    "store_id": STORE, "slot_id": b"i" * 16, "kind": "keyfile", "parameters": b"p", "root_version": 1,
}  # fmt: skip


# --- ciphertexts of clients


def test_blob__opens_where_it_was_sealed_and_names_key_and_material() -> None:
    blob = seal_blob(KEY, b"plaintext", BLOB)
    parsed = parse_blob(blob)
    assert (parsed.key_id, parsed.material_id) == (KEY_ID, MATERIAL_ID)
    assert blob[0] == 1
    assert len(blob) == 49 + 56 + 9 + 16
    assert open_blob(KEY, parsed, BLOB) == b"plaintext"


def test_blob__is_another_one_each_time() -> None:
    """Salts are fresh, so that each has a key of its own under the material."""
    salts = {seal_blob(KEY, b"same", BLOB)[49:73] for _ in range(1000)}
    assert len(salts) == 1000


@pytest.mark.parametrize(
    "place",
    [
        replace(BLOB, account="2" * 12),
        replace(BLOB, region="us-east-2"),
        replace(BLOB, key_id=OTHER_KEY_ID),
        replace(BLOB, material_id=OTHER_MATERIAL_ID),
        replace(BLOB, context=canonical_context({})),
        replace(BLOB, context=canonical_context({"aws:s3:arn": "arn:aws:s3:::bucket/kez"})),
        replace(BLOB, context=canonical_context({"aws:s3:arN": "arn:aws:s3:::bucket/key"})),
        replace(BLOB, context=CONTEXT + b"\0"),
    ],
    ids=["account", "region", "key", "material", "no context", "value", "name", "not canonical"],
)
def test_blob__opens_nowhere_else(place: BlobPlace) -> None:
    parsed = replace(parse_blob(seal_blob(KEY, b"x", BLOB)), key_id=place.key_id, material_id=place.material_id)
    with pytest.raises(KeyMismatch):
        open_blob(KEY, parsed, place)


def test_blob__that_names_another_key_than_the_place_is_refused() -> None:
    parsed = parse_blob(seal_blob(KEY, b"x", BLOB))
    for place in (replace(BLOB, key_id=OTHER_KEY_ID), replace(BLOB, material_id=OTHER_MATERIAL_ID)):
        with pytest.raises(IntegrityError, match="names another key"):
            open_blob(KEY, parsed, place)


def test_blob__opens_under_no_other_material() -> None:
    with pytest.raises(KeyMismatch):
        open_blob(OTHER_KEY, parse_blob(seal_blob(KEY, b"x", BLOB)), BLOB)


def test_blob__any_flipped_missing_or_trailing_byte_is_an_integrity_error() -> None:
    blob = seal_blob(KEY, b"plaintext", BLOB)
    damaged = [blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :] for place in range(len(blob))]
    damaged += [blob[:length] for length in range(len(blob))]
    damaged += [blob + b"\0", blob + blob, b""]
    for wrong in damaged:
        with pytest.raises(IntegrityError):
            open_blob(KEY, parse_blob(wrong), BLOB)


def test_blob__of_an_unknown_format_is_told_by_its_byte() -> None:
    with pytest.raises(UnknownFormat, match="02"):
        parse_blob(b"\x02" + seal_blob(KEY, b"", BLOB)[1:])


@pytest.mark.parametrize("place", [replace(BLOB, key_id=b"k"), replace(BLOB, material_id=b"m")])
def test_blob__ids_of_another_length_are_refused(place: BlobPlace) -> None:
    with pytest.raises(ValueError, match="material id 32"):
        seal_blob(KEY, b"", place)


def test_blob__keys_are_never_hashed_into_shape() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        seal_blob(KEY[:31], b"", BLOB)


# --- canonical contexts


def test_canonical_context__pairs_are_not_joined() -> None:
    """moto and localstack write {"a": "bc"} as they write {"ab": "c"}."""
    assert canonical_context({"a": "bc"}) != canonical_context({"ab": "c"})
    assert canonical_context({"a": "b", "c": "d"}) != canonical_context({"a": "b\0\0\0\1c\0\0\0\1d"})


def test_canonical_context__is_sorted_by_utf8_and_not_by_code_units() -> None:
    encoded = canonical_context({"\U0001d11e": "", "￮": ""})
    assert encoded.index("￮".encode()) < encoded.index("\U0001d11e".encode())


def test_canonical_context__lone_surrogates_are_refused() -> None:
    for wrong in ({"\ud800": ""}, {"": "\udfff"}):
        with pytest.raises(UnicodeEncodeError):
            canonical_context(wrong)


# --- materials


@pytest.mark.parametrize("size", [32, 121, 16384, 20000])
def test_material__of_any_size_comes_back(size: int) -> None:
    plaintext = b"\xa5" * size
    sealed = kms_sealing.seal_material(KEY, plaintext, store_id=STORE, place=MATERIAL, root_version=3)
    assert kms_sealing.material_root_version(sealed) == 3
    assert kms_sealing.open_material(KEY, sealed, store_id=STORE, place=MATERIAL, root_version=3) == plaintext


@pytest.mark.parametrize(
    "changed",
    [
        {"store_id": OTHER_STORE},
        {"place": replace(MATERIAL, account="2" * 12)},
        {"place": replace(MATERIAL, key_id=OTHER_KEY_ID)},
        {"place": replace(MATERIAL, material_id=OTHER_MATERIAL_ID)},
        {"place": replace(MATERIAL, spec="HMAC_256")},
        {"place": replace(MATERIAL, usage="GENERATE_VERIFY_MAC")},
        {"place": replace(MATERIAL, origin="EXTERNAL")},
    ],
    ids=lambda changed: str(next(iter(changed))),
)
def test_material__opens_nowhere_else(changed: dict[str, Any]) -> None:
    place: dict[str, Any] = {"store_id": STORE, "place": MATERIAL, "root_version": 1}
    sealed = kms_sealing.seal_material(KEY, KEY, **place)
    with pytest.raises(KeyMismatch):
        kms_sealing.open_material(KEY, sealed, **{**place, **changed})


def test_material__the_root_version_is_bound_and_named() -> None:
    sealed = kms_sealing.seal_material(KEY, KEY, store_id=STORE, place=MATERIAL, root_version=1)
    with pytest.raises(IntegrityError, match="names another key"):
        kms_sealing.open_material(KEY, sealed, store_id=STORE, place=MATERIAL, root_version=2)
    renamed = sealed[:1] + b"\0\0\0\2" + sealed[5:]
    with pytest.raises(KeyMismatch):
        kms_sealing.open_material(KEY, renamed, store_id=STORE, place=MATERIAL, root_version=2)
    with pytest.raises(IntegrityError, match="cut"):
        kms_sealing.material_root_version(b"\1\0\0")
    with pytest.raises(UnknownFormat):
        kms_sealing.material_root_version(b"\2" + sealed[1:])


# --- records


@pytest.mark.parametrize(
    "changed",
    [
        {"store_id": OTHER_STORE},
        {"place": replace(RECORD, kind="alias")},
        {"place": replace(RECORD, record_id="ie")},
        {"place": replace(RECORD, key_id=OTHER_KEY_ID)},
        {"place": replace(RECORD, revision=6)},
        {"place": replace(RECORD, root_version=2)},
        {"place": replace(RECORD, revision=-1)},
        {"place": replace(RECORD, record_id="\ud800")},
    ],
    ids=["store", "kind", "id", "key", "revision", "root", "impossible revision", "impossible id"],
)
def test_record__opens_nowhere_else(changed: dict[str, Any]) -> None:
    sealer = RowSealer(KEY)
    place: dict[str, Any] = {"store_id": STORE, "place": RECORD}
    sealed = kms_sealing.seal_record(sealer, b"record", **place)
    assert kms_sealing.open_record(sealer, sealed, **place) == b"record"
    with pytest.raises(IntegrityError):
        kms_sealing.open_record(sealer, sealed, **{**place, **changed})


# --- the root in its slots


@pytest.mark.parametrize(
    "changed",
    [
        {"store_id": OTHER_STORE},
        {"slot_id": b"j" * 16},
        {"kind": "passphrase"},
        {"parameters": b"q"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_root__opens_in_no_other_slot(changed: dict[str, Any]) -> None:
    sealed = kms_sealing.seal_root(KEY, OTHER_KEY, **SLOT)
    assert kms_sealing.open_root(KEY, sealed, **SLOT) == OTHER_KEY
    with pytest.raises(KeyMismatch):
        kms_sealing.open_root(KEY, sealed, **{**SLOT, **changed})


def test_root__of_another_version_or_length_is_refused() -> None:
    sealed = kms_sealing.seal_root(KEY, OTHER_KEY, **SLOT)
    with pytest.raises(IntegrityError):
        kms_sealing.open_root(KEY, sealed, **{**SLOT, "root_version": 2})
    with pytest.raises(KeyMismatch):
        kms_sealing.open_root(KEY, sealed[:1] + b"\0\0\0\2" + sealed[5:], **{**SLOT, "root_version": 2})
    with pytest.raises(ValueError, match="32 bytes"):
        kms_sealing.seal_root(KEY, OTHER_KEY[:16], **SLOT)


# --- keys and ids


def test_keys_of_one_root_differ_by_purpose() -> None:
    keys = {kms_sealing.record_key(KEY), kms_sealing.material_key(KEY), KEY}
    assert len(keys) == 3


def test_imported_key__depends_on_the_place_and_nothing_else() -> None:
    key = kms_sealing.imported_key(KEY, key_id=KEY_ID, material_id=MATERIAL_ID)
    assert key == kms_sealing.imported_key(bytearray(KEY), key_id=KEY_ID, material_id=MATERIAL_ID)
    assert key != kms_sealing.imported_key(KEY, key_id=OTHER_KEY_ID, material_id=MATERIAL_ID)
    assert key != kms_sealing.imported_key(KEY, key_id=KEY_ID, material_id=OTHER_MATERIAL_ID)
    with pytest.raises(ValueError, match="32 bytes"):
        kms_sealing.imported_key(KEY[:16], key_id=KEY_ID, material_id=MATERIAL_ID)


UUID_TEXT = "1234abcd-12ab-34cd-56ef-1234567890ab"


def test_raw_key_id__has_one_spelling() -> None:
    assert raw_key_id(UUID_TEXT).hex() == UUID_TEXT.replace("-", "")
    for other in (UUID_TEXT.upper(), UUID_TEXT.replace("-", ""), f"{{{UUID_TEXT}}}", f"urn:uuid:{UUID_TEXT}", "", "x"):
        with pytest.raises(ValueError):
            raw_key_id(other)
