import base64
import os
from pathlib import Path

import pytest

from strongroom.keys.store_keys import (
    StoreKeyError,
    create_key_file,
    load_credentials,
    load_environment,
    load_key_files,
    store_key_id,
)

KEY, OTHER = bytes(range(128, 160)), bytes(range(160, 192))
TEXT, OTHER_TEXT = base64.b64encode(KEY).decode(), base64.b64encode(OTHER).decode()


def test_a_key_file_that_was_made_loads_under_its_name(tmp_path: Path) -> None:
    identity = create_key_file(tmp_path)
    assert list(load_key_files(tmp_path)) == [identity]
    (path,) = tmp_path.iterdir()
    assert path.stem == identity.hex()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_file_that_others_can_read_is_refused_with_the_way_out(tmp_path: Path) -> None:
    create_key_file(tmp_path)
    (path,) = tmp_path.iterdir()
    path.chmod(0o640)
    with pytest.raises(StoreKeyError, match=f"run `chmod 600 {path}`"):
        load_key_files(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (OTHER_TEXT.encode(), "does not hold the key that its name says: restore it from a backup"),
        (b"", "this one has 0"),
        (KEY, "it is not base64"),
    ],
)
def test_a_key_file_with_another_content_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / f"{store_key_id(KEY).hex()}.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StoreKeyError, match=f"{path} .*{told}"):
        load_key_files(tmp_path)


def test_a_symbolic_link_is_no_key_file(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(TEXT)
    (tmp_path / f"{store_key_id(KEY).hex()}.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreKeyError, match="can't be read"):
        load_key_files(tmp_path)


def test_the_newest_key_of_the_environment_comes_first() -> None:
    keys = load_environment({"STRONGROOM_STORE_KEY": f" {TEXT}\n", "STRONGROOM_STORE_KEY_PREVIOUS": OTHER_TEXT})
    assert list(keys) == [store_key_id(KEY), store_key_id(OTHER)]


def test_an_empty_variable_counts_as_not_set() -> None:
    assert list(load_environment({"STRONGROOM_STORE_KEY": TEXT, "STRONGROOM_STORE_KEY_PREVIOUS": ""})) == [
        store_key_id(KEY)
    ]
    with pytest.raises(StoreKeyError, match=r"STRONGROOM_STORE_KEY is not set: .*openssl rand -base64 32"):
        load_environment({"STRONGROOM_STORE_KEY": ""})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (base64.b64encode(KEY[:31]).decode(), "this one has 31"),
        (KEY.hex(), "this one has 48"),
        ("hello world", "not base64"),
        ("ключ", "not base64"),
        (base64.b64encode(bytes(32)).decode(), "all bytes .* are equal"),
        (base64.b64encode(b"correct horse battery staple 123").decode(), "printable text"),
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(text: str, told: str) -> None:
    with pytest.raises(StoreKeyError, match=f"STRONGROOM_STORE_KEY holds no usable key: .*{told}.*32 random") as caught:
        load_environment({"STRONGROOM_STORE_KEY": text})
    assert text not in str(caught.value)


def test_systemd_credentials(tmp_path: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": os.fspath(tmp_path)}
    with pytest.raises(StoreKeyError, match="LoadCredential=strongroom-store-key:PATH"):
        load_credentials({})
    with pytest.raises(StoreKeyError, match="LoadCredential=strongroom-store-key:PATH"):
        load_credentials(environ)
    (tmp_path / "strongroom-store-key").write_text(TEXT)
    assert list(load_credentials(environ)) == [store_key_id(KEY)]
    (tmp_path / "strongroom-store-key-previous").write_text(OTHER_TEXT)
    assert list(load_credentials(environ)) == [store_key_id(KEY), store_key_id(OTHER)]
