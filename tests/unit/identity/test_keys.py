import base64
import os
import stat

import pytest

from strongroom.crypto.sealing import derive
from strongroom.identity.keys import (
    FILE_NAME,
    IdentityKeyError,
    create_identity_key,
    identity_key_id,
    load_identity_key,
    service_credentials,
)


def test_a_key_is_32_random_bytes_in_a_private_file(tmp_path) -> None:
    key = create_identity_key(tmp_path)
    path = tmp_path / FILE_NAME
    assert len(key) == 32
    assert base64.b64decode(path.read_bytes()) == key == load_identity_key(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_a_key_is_never_overwritten(tmp_path) -> None:
    key = create_identity_key(tmp_path)
    with pytest.raises(FileExistsError):
        create_identity_key(tmp_path)
    assert load_identity_key(tmp_path) == key


def test_no_file_is_no_key_and_makes_none(tmp_path) -> None:
    assert load_identity_key(tmp_path) is None
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not base64 at all!",
        base64.b64encode(bytes(range(31))),
        base64.b64encode(bytes(range(33))),
        base64.b64encode(b"\x07" * 32),
        base64.b64encode(b"a typed text of just 32 letters."),
    ],
)
def test_what_is_no_key_is_refused_without_being_repeated(tmp_path, content) -> None:
    (tmp_path / FILE_NAME).touch(0o600)
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(IdentityKeyError, match="no usable key") as caught:
        load_identity_key(tmp_path)
    assert not content or content.decode() not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_use_is_refused(tmp_path, mode) -> None:
    create_identity_key(tmp_path)
    (tmp_path / FILE_NAME).chmod(mode)
    with pytest.raises(IdentityKeyError, match="chmod 600"):
        load_identity_key(tmp_path)


def test_a_key_that_cannot_be_read_never_counts_as_absent(tmp_path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(IdentityKeyError, match="can't be read"):
        load_identity_key(tmp_path)


def test_a_link_is_not_followed(tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    create_identity_key(tmp_path / "elsewhere")
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "elsewhere" / FILE_NAME)
    with pytest.raises(IdentityKeyError, match="can't be read"):
        load_identity_key(tmp_path)


def test_the_service_credentials_follow_from_the_key_and_tell_nothing_of_it(tmp_path) -> None:
    key = create_identity_key(tmp_path)
    made = service_credentials(key)
    assert made.access_key_id == "strongroom-s3"
    assert made.secret_access_key == derive(key, "service-credential", b"s3").hex()
    assert made == service_credentials(key)
    assert made != service_credentials(bytes(reversed(key)))
    assert made.secret_access_key not in repr(made)
    assert key.hex() not in made.secret_access_key


def test_the_id_of_a_key_is_its_fingerprint() -> None:
    key = bytes(range(32))
    assert len(identity_key_id(key)) == 16
    assert identity_key_id(key) != identity_key_id(bytes(range(1, 33)))
