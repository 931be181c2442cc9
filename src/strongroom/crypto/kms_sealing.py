"""What the key service seals: root, records, key material and the ciphertexts of its clients. Pure, like sealing.py.

    slot key ── root r ─┬─ material key ── key material ── CiphertextBlob of clients
                        └─ record key ──── records (keys, aliases, grants, policies, revisions, ...)

No key comes near AES-GCM's limits (2^32 messages under random 96-bit nonces): Cobblestone draws a salt of 24 bytes for
every message and derives cipher key and nonce of that one message from it, so a key material seals without a bound that
matters, and XAES (crypto/rows.py) does the like for records.

Ids are raw bytes: stores, slots and keys 16, materials 32. What does not open is an IntegrityError, as in sealing.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.crypto.context import ctx, text, u32, u64
from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.rows import RowSealer
from strongroom.crypto.sealing import derive, open_row, seal_row
from strongroom.crypto.segments import HEADER_SIZE, KEY_SIZE, TAG_SIZE, open_sealed, seal
from strongroom.crypto.stored_form import FORMAT, ID_SIZE, Key, message_of, open_key, require_key, seal_key

MATERIAL_ID_SIZE = 32
ALGORITHM = "SYMMETRIC_DEFAULT"

_VERSION_SIZE = 4
_BLOB_NAMES_SIZE = ID_SIZE + MATERIAL_ID_SIZE


@lru_cache(maxsize=1024)
def raw_key_id(key_id: str) -> bytes:
    """The 16 bytes of a key id, which is a UUID in the one spelling that is ours. Raises ValueError."""
    uuid = UUID(key_id)
    if str(uuid) != key_id:
        raise ValueError("a key id is a UUID in lower case, with hyphens")
    return uuid.bytes


def canonical_context(context: Mapping[str, str]) -> bytes:
    """An encryption context as bytes: count u32, then the pairs sorted by the UTF-8 bytes of their names, each u32
    length + name, u32 length + value. Injective: {"a": "bc"} is not {"ab": "c"}.

    Raises UnicodeEncodeError for a lone surrogate.
    """
    pairs = sorted((text(name), text(value)) for name, value in context.items())
    parts = [u32(len(pairs))]
    for pair in pairs:
        for word in pair:
            parts += (u32(len(word)), word)
    return b"".join(parts)


# --- the root, once for each unseal slot


def seal_root(
    slot_key: Key, root: Key, *, store_id: bytes, slot_id: bytes, kind: str, parameters: bytes, root_version: int
) -> bytes:
    """01 || root version u32 || message. `parameters`: the slot's, Argon2id's salt among them, as they are stored."""
    context = _slot_context(store_id, slot_id, kind, parameters, root_version)
    return FORMAT + u32(root_version) + seal_key(slot_key, context, root)


def open_root(
    slot_key: Key, sealed: bytes, *, store_id: bytes, slot_id: bytes, kind: str, parameters: bytes, root_version: int
) -> bytes:
    """The root key, 32 bytes. KeyMismatch: another slot's key, or a slot that was edited."""
    context = _slot_context(store_id, slot_id, kind, parameters, root_version)
    return open_key(slot_key, context, message_of(sealed, u32(root_version)))


def _slot_context(store_id: bytes, slot_id: bytes, kind: str, parameters: bytes, root_version: int) -> bytes:
    return ctx("kms/slot", store_id, slot_id, text(kind), parameters, u32(root_version))


# --- records


def record_key(root: Key) -> bytes:
    """The key of the `RowSealer` of records."""
    return derive(root, "kms-record")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPlace:
    """What a record is bound to. `kind`: the word after `kms/` in its label. `key_id`: b"" where it goes with no key."""

    kind: str
    record_id: str
    key_id: bytes
    revision: int
    root_version: int

    def context(self, store_id: bytes) -> bytes:
        """Raises OverflowError and UnicodeEncodeError for what cannot have been written."""
        return ctx(
            f"kms/{self.kind}",
            store_id,
            text(self.record_id),
            self.key_id,
            u64(self.revision),
            u32(self.root_version),
        )


def seal_record(sealer: RowSealer, plaintext: bytes, *, store_id: bytes, place: RecordPlace) -> bytes:
    """01 || root version u32 || XAES message."""
    return seal_row(sealer, place.root_version, place.context(store_id), plaintext)


def open_record(sealer: RowSealer, sealed: bytes, *, store_id: bytes, place: RecordPlace) -> bytes:
    """The record's plaintext."""
    try:
        context = place.context(store_id)
    except (OverflowError, UnicodeEncodeError):
        raise IntegrityError("the row of a record holds what cannot have been written") from None
    return open_row(sealer, place.root_version, context, sealed)


# --- key material


def material_key(root: Key) -> bytes:
    """The key that seals key material."""
    return derive(root, "kms-material")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterialPlace:
    """What a key material is bound to; the words of `spec`, `usage` and `origin` are AWS's."""

    account: str
    key_id: bytes
    material_id: bytes
    spec: str
    usage: str
    origin: str

    def context(self, store_id: bytes, root_version: int) -> bytes:
        return ctx(
            "kms/material",
            store_id,
            text(self.account),
            self.key_id,
            self.material_id,
            text(self.spec),
            text(self.usage),
            text(self.origin),
            u32(root_version),
        )


def seal_material(
    material_key: Key, plaintext: Key, *, store_id: bytes, place: MaterialPlace, root_version: int
) -> bytes:
    """01 || root version u32 || message. `plaintext`: 32 bytes, or a private key of any size (DER)."""
    return FORMAT + u32(root_version) + seal(material_key, place.context(store_id, root_version), plaintext)


def material_root_version(sealed: bytes) -> int:
    """The version of the root under which a material is sealed. Raises UnknownFormat, IntegrityError."""
    message = message_of(sealed)
    if len(message) < _VERSION_SIZE:
        raise IntegrityError("the sealed material is cut")
    return int.from_bytes(message[:_VERSION_SIZE], "big")


def open_material(
    material_key: Key, sealed: bytes, *, store_id: bytes, place: MaterialPlace, root_version: int
) -> bytes:
    """The material."""
    message = message_of(sealed, u32(root_version))
    return open_sealed(material_key, place.context(store_id, root_version), message)


def imported_key(material: Key, *, key_id: bytes, material_id: bytes) -> bytes:
    """The key that imported symmetric material becomes: HKDF-SHA-512 with its Extract step, since whether what somebody
    brings is uniformly random is not ours to know. The same material gives the same key again. Raises ValueError.
    """
    require_key(material)
    info = ctx("kms-imported", key_id, material_id)
    return HKDF(SHA512(), KEY_SIZE, key_id + material_id, info).derive(material)


# --- the ciphertexts of clients


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A CiphertextBlob, taken apart and not yet opened."""

    key_id: bytes
    material_id: bytes
    message: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobPlace:
    """What a CiphertextBlob is bound to. `context`: the canonical encryption context."""

    account: str
    region: str
    key_id: bytes
    material_id: bytes
    context: bytes

    def bound(self) -> bytes:
        return ctx(
            "kms/blob",
            text(self.account),
            text(self.region),
            self.key_id,
            self.material_id,
            text(ALGORITHM),
            self.context,
        )


def seal_blob(material: Key, plaintext: bytes, place: BlobPlace) -> bytes:
    """01 || key id 16 || material id 32 || message. Raises ValueError for ids and keys of another length."""
    if len(place.key_id) != ID_SIZE or len(place.material_id) != MATERIAL_ID_SIZE:
        raise ValueError(f"a key id has {ID_SIZE} bytes, a material id {MATERIAL_ID_SIZE}")
    return FORMAT + place.key_id + place.material_id + seal(material, place.bound(), plaintext)


def parse_blob(blob: bytes) -> Blob:
    """The names in a CiphertextBlob, which nobody has authenticated yet. Raises UnknownFormat, IntegrityError."""
    stored = message_of(blob)
    if len(stored) < _BLOB_NAMES_SIZE + HEADER_SIZE + TAG_SIZE:
        raise IntegrityError("the ciphertext is cut")
    return Blob(
        key_id=stored[:ID_SIZE],
        material_id=stored[ID_SIZE:_BLOB_NAMES_SIZE],
        message=stored[_BLOB_NAMES_SIZE:],
    )


def open_blob(material: Key, blob: Blob, place: BlobPlace) -> bytes:
    """The plaintext. Whatever is not what was sealed, trailing bytes included, is an IntegrityError."""
    if (blob.key_id, blob.material_id) != (place.key_id, place.material_id):
        raise IntegrityError("the ciphertext names another key")
    return open_sealed(material, place.bound(), blob.message)
