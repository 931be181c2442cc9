"""strongroom.kms.blob: a ciphertext opens under its own key and material, for its own context, and nowhere else."""

from dataclasses import replace

import pytest

from strongroom.aws.kms_errors import KmsError
from strongroom.crypto.kms_sealing import raw_key_id
from strongroom.kms.blob import open_blob, parse_blob, seal_blob
from strongroom.kms.call import Kms
from strongroom.kms.records import Key
from strongroom.kms.rotation import rotated
from tests.kms_values import NOW_US, add_key, new_kms

SECRET = b"a data key"
CONTEXT = {"aws:s3:arn": "arn:aws:s3:::bucket/key", "a": "bc"}


def symmetric(kms: Kms) -> Key:
    return add_key(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")


def turned(kms: Kms, key: Key) -> Key:
    key, _, changes = rotated(kms, key, "ON_DEMAND", NOW_US)
    kms.state.apply(changes)
    return key


def refused(kms: Kms, key: Key, blob: bytes, context: dict[str, str] | None = CONTEXT) -> tuple[str, str | None]:
    with pytest.raises(KmsError) as raised:
        open_blob(kms, key, blob, context)
    return raised.value.code, raised.value.message


def test_the_newest_material_seals_and_every_older_one_opens() -> None:
    kms = new_kms()
    key = symmetric(kms)
    blobs = []
    for _ in range(3):
        blobs.append(seal_blob(kms, key, SECRET, CONTEXT))
        assert parse_blob(blobs[-1]).material_id == key.current_material_id == key.material_ids[-1]
        key = turned(kms, key)
    assert len({parse_blob(blob).material_id for blob in blobs}) == 3
    assert [open_blob(kms, key, blob, CONTEXT) for blob in blobs] == [SECRET] * 3


def test_whatever_is_wrong_is_one_answer() -> None:
    kms = new_kms()
    key, other = symmetric(kms), symmetric(kms)
    blob = seal_blob(kms, key, SECRET, CONTEXT)
    named, material_id, message = blob[:1], parse_blob(blob).material_id, parse_blob(blob).message
    of_other = parse_blob(seal_blob(kms, other, SECRET, CONTEXT))
    later = turned(kms, key)
    assert later.current_material_id is not None
    for bad in (
        blob + b"\0",
        blob[:-1],
        blob[:49],
        b"",
        b"\x02" + blob[1:],
        named + raw_key_id(key.key_id) + of_other.material_id + of_other.message,  # another key's, under this name
        named + raw_key_id(key.key_id) + later.current_material_id + message,  # a material that did not seal it
        named + raw_key_id(other.key_id) + material_id + message,
        named + raw_key_id(key.key_id) + bytes(32) + message,
    ):
        assert refused(kms, later, bad) == ("InvalidCiphertextException", None)
    for context in (None, {}, {**CONTEXT, "a": "b"}, {**CONTEXT, "more": ""}, {"a": "bc"}):
        assert refused(kms, key, blob, context) == ("InvalidCiphertextException", None)
    for elsewhere in (replace(kms, region="eu-west-1"), replace(kms, account_id="999999999999")):
        assert refused(elsewhere, key, blob) == ("InvalidCiphertextException", None)
    assert open_blob(kms, key, blob, dict(reversed(CONTEXT.items()))) == SECRET


def test_no_context_is_an_empty_one() -> None:
    kms = new_kms()
    key = symmetric(kms)
    assert open_blob(kms, key, seal_blob(kms, key, SECRET, None), {}) == SECRET
    assert open_blob(kms, key, seal_blob(kms, key, SECRET, {}), None) == SECRET
