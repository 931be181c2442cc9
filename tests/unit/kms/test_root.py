"""strongroom.kms.root: what the root key does for operations, and that it shows itself to nobody."""

import copy
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from strongroom.aws.kms_errors import KmsError
from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.kms_sealing import RecordPlace
from strongroom.crypto.secret_key import SecretKey
from strongroom.kms.root import OpenRoot, RootVersion
from tests.unit.kms.kms_stores import ACCOUNT, NOW, REGION, in_loop, new_key, opened

CANARY = b"canary-root-key-of-32-bytes-----"


def root(version: int = 1, key: bytes = CANARY) -> OpenRoot:
    return OpenRoot(
        store_id=b"s" * 16,
        account_id=ACCOUNT,
        region=REGION,
        current=RootVersion(version, SecretKey(key)),
        previous=None,
        now_us=lambda: NOW,
    )


def material_of(held: OpenRoot, plaintext: bytes = b"p" * 32) -> Any:
    class Store:
        root = held

    return new_key(Store(), plaintext)  # type: ignore[arg-type]


def test_material__comes_back_for_its_key_and_no_other() -> None:
    held = root()
    key, material = material_of(held)
    other, other_material = material_of(held, b"q" * 32)
    assert held.open_material(key, material) == b"p" * 32
    for wrong_key, wrong_material in (
        (other, material),
        (key, other_material),
        (msgspec.structs.replace(key, spec="HMAC_256"), material),
        (msgspec.structs.replace(key, usage="SIGN_VERIFY"), material),
        (msgspec.structs.replace(key, origin="EXTERNAL"), material),
        (key, msgspec.structs.replace(material, material_id=other_material.material_id)),
        (key, msgspec.structs.replace(material, sealed=other_material.sealed)),
        (key, msgspec.structs.replace(other_material, key_id=key.key_id)),
    ):
        with pytest.raises(IntegrityError):
            held.open_material(wrong_key, wrong_material)


def test_material__of_any_size() -> None:
    held = root()
    key, material = material_of(held, b"DER" * 1000)
    assert held.open_material(key, material) == b"DER" * 1000


@pytest.mark.parametrize(
    "changed", [{"sealed": b""}, {"expires": True, "valid_to_us": NOW}, {"expires": True, "valid_to_us": 1}], ids=str
)
def test_material__that_was_deleted_or_has_expired_is_kmss_error(changed: dict[str, Any]) -> None:
    held = root()
    key, material = material_of(held)
    with pytest.raises(KmsError) as refused:
        held.open_material(key, msgspec.structs.replace(material, **changed))
    assert refused.value.code == "KMSInvalidStateException"
    assert refused.value.message == f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key.key_id} is pending import."
    valid = msgspec.structs.replace(material, expires=True, valid_to_us=NOW + 1)
    assert held.open_material(key, valid) == b"p" * 32


def test_material__of_a_previous_root_opens_until_that_is_forgotten() -> None:
    held = root()
    key, material = material_of(held)
    held.replace_current(RootVersion(2, SecretKey(CANARY[::-1])))
    assert held.open_material(key, material) == b"p" * 32
    resealed = msgspec.structs.replace(material, sealed=held.reseal_material(key, material))
    old = held.previous
    assert old
    held.forget_previous()
    assert held.open_material(key, resealed) == b"p" * 32
    with pytest.raises(IntegrityError, match="version 1 of the root key"):
        held.open_material(key, material)
    with pytest.raises(ValueError, match="wiped"):
        _ = old.key.material
    assert held.reseal_material(key, msgspec.structs.replace(material, sealed=b"")) == b""


def test_records__open_under_the_version_that_they_name() -> None:
    held = root()
    place = RecordPlace(kind="key", record_id="x", key_id=b"", revision=1, root_version=1)
    sealed = held.seal_record(b"record", place)
    assert held.open_record(sealed, place) == b"record"
    with pytest.raises(IntegrityError, match="version 2"):
        held.open_record(sealed, RecordPlace(kind="key", record_id="x", key_id=b"", revision=1, root_version=2))


def test_derive__is_one_key_for_each_purpose_and_store() -> None:
    held, other = root(), root()
    with pytest.raises(RuntimeError):
        held.derive("import-token")
    held.keep_lasting_secret(SecretKey(b"l" * 32))
    other.keep_lasting_secret(SecretKey(b"m" * 32))
    keys = {
        held.derive("import-token"),
        held.derive("material-id"),
        held.derive("import-token", b"field"),
        other.derive("import-token"),
    }
    assert len(keys) == 4
    assert all(len(key) == 32 for key in keys)


@in_loop
async def test_derive__outlives_root_and_start(tmp_path: Path) -> None:
    from strongroom.kms.slots import Given

    async with opened(tmp_path) as store:
        before = store.root.derive("material-id")
        await store.rotate_root(Given(directory=tmp_path, environ={}), apply=lambda _: None)
        assert store.root.derive("material-id") == before
    async with opened(tmp_path) as store:
        assert store.root.derive("material-id") == before


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_root_cannot_be_copied(duplicate: Callable[[object], object]) -> None:
    held = root()
    for wanted in (held, held.current, held.current.key):
        with pytest.raises(TypeError):
            duplicate(wanted)


def test_nothing_shows_the_root() -> None:
    held = root()
    try:
        held.open_record(b"\1", RecordPlace(kind="key", record_id="", key_id=b"", revision=0, root_version=1))
    except IntegrityError as error:
        told = "".join(traceback.format_exception(error))
    for shown in (repr(held), repr(held.current), repr(held.current.key), f"{vars(held)}", told):
        assert "canary" not in shown
        assert CANARY.hex() not in shown


def test_close__wipes_what_can_be_wiped() -> None:
    held = root()
    held.keep_lasting_secret(SecretKey(bytearray(b"l" * 32)))
    kept = [held.current.key.material, held.current.material_key.material]
    held.close()
    assert all(material == bytes(32) for material in kept)
    with pytest.raises(ValueError, match="wiped"):
        held.derive("import-token")
