import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom.keys.provider import (
    DataKey,
    KeyServiceMisbehaved,
    KeyServiceRefusal,
    KeyServiceUnavailable,
    SealedKey,
)
from strongroom.keys.store_keys import (
    StoreKeyError,
    StoreKeyUnavailable,
    create_key_file,
    is_sealed,
    load_credentials,
    load_environment,
    load_key_files,
    name_new_key,
    remove_key_file,
    remove_unfinished,
    store_key_id,
    write_new_key,
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


# --- sealed by a key service

ARN = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000001"
MATERIAL = bytes(range(32))


class Service:
    """Seals by remembering: a blob is a number. `error`: what it answers instead."""

    def __init__(self) -> None:
        self.keys: dict[bytes, bytes] = {}
        self.error: Exception | None = None

    def generate(self) -> DataKey:
        if self.error is not None:
            raise self.error
        blob = f"blob {len(self.keys)}".encode()
        self.keys[blob] = os.urandom(32)
        sealed = SealedKey(key_arn=ARN, material_id=MATERIAL, ciphertext_blob=blob)
        return DataKey(sealed=sealed, plaintext=self.keys[blob])

    def open(self, sealed: SealedKey) -> bytes:
        if self.error is not None:
            raise self.error
        assert (sealed.key_arn, sealed.material_id) == (ARN, MATERIAL)
        return self.keys[sealed.ciphertext_blob]


def test_a_sealed_key_file_loads_under_its_name_and_holds_no_key(tmp_path: Path) -> None:
    service = Service()
    identity = create_key_file(tmp_path, service.generate)
    (key,) = service.keys.values()
    assert load_key_files(tmp_path, service.open) == {identity: key}
    (path,) = tmp_path.iterdir()
    assert path.name == f"{identity.hex()}.kms"
    assert path.stat().st_mode & 0o777 == 0o600
    content = path.read_bytes()
    assert not any(form in content for form in (key, base64.b64encode(key), key.hex().encode()))
    assert is_sealed(tmp_path, identity)


def test_a_sealed_key_file_that_others_can_read_is_refused_too(tmp_path: Path) -> None:
    """It opens for whoever may ask the key service in this server's name."""
    service = Service()
    create_key_file(tmp_path, service.generate)
    (path,) = tmp_path.iterdir()
    path.chmod(0o640)
    with pytest.raises(StoreKeyError, match=f"run `chmod 600 {path}`"):
        load_key_files(tmp_path, service.open)


def test_keys_of_both_kinds_lie_side_by_side(tmp_path: Path) -> None:
    service = Service()
    clear, sealed = create_key_file(tmp_path), create_key_file(tmp_path, service.generate)
    assert load_key_files(tmp_path, service.open).keys() == {clear, sealed}
    assert not is_sealed(tmp_path, clear)
    remove_key_file(tmp_path, sealed)
    assert load_key_files(tmp_path).keys() == {clear}


def test_a_new_sealed_key_is_no_key_before_it_has_its_name(tmp_path: Path) -> None:
    service = Service()
    identity = write_new_key(tmp_path, service.generate)
    assert load_key_files(tmp_path, service.open) == {}
    name_new_key(tmp_path, identity)
    assert list(load_key_files(tmp_path, service.open)) == [identity]
    write_new_key(tmp_path, service.generate)
    remove_unfinished(tmp_path)
    assert [path.stem for path in tmp_path.iterdir()] == [identity.hex()]


def test_a_sealed_key_file_needs_somebody_to_open_it(tmp_path: Path) -> None:
    create_key_file(tmp_path, Service().generate)
    with pytest.raises(StoreKeyError, match="a store key that a key service sealed, and there is none to open it"):
        load_key_files(tmp_path)


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (KeyServiceUnavailable("it is away"), StoreKeyUnavailable, "the key service does not answer: it is away"),
        (KeyServiceRefusal("DisabledException", "off"), StoreKeyError, "the key service says: DisabledException: off"),
        (KeyServiceMisbehaved("another key"), StoreKeyError, "the key service says: another key"),
    ],
)
def test_what_the_key_service_answers_is_told(
    tmp_path: Path, error: Exception, kind: type[Exception], told: str
) -> None:
    service = Service()
    create_key_file(tmp_path, service.generate)
    before = sorted(tmp_path.iterdir())
    service.error = error
    with pytest.raises(StoreKeyError, match=f"can't be opened.*{told}") as caught:
        load_key_files(tmp_path, service.open)
    assert type(caught.value) is kind
    with pytest.raises(StoreKeyError, match=f"can't be made.*{told}"):
        create_key_file(tmp_path, service.generate)
    assert sorted(tmp_path.iterdir()) == before


def _without(name: str) -> Callable[[dict[str, object]], object]:
    return lambda document: {key: value for key, value in document.items() if key != name}


@pytest.mark.parametrize(
    "change",
    [
        lambda _: [],
        lambda _: "text",
        lambda _: None,
        _without("key_arn"),
        _without("material_id"),
        _without("ciphertext_blob"),
        lambda document: {**document, "ciphertext_blob": "!"},
        lambda document: {**document, "ciphertext_blob": 7},
        lambda document: {**document, "material_id": "xyz"},
        lambda document: {**document, "material_id": 7},
    ],
)
def test_a_damaged_sealed_key_file_is_refused(tmp_path: Path, change: Callable[[object], object]) -> None:
    service = Service()
    create_key_file(tmp_path, service.generate)
    (path,) = tmp_path.iterdir()
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(StoreKeyError, match=f"{path} holds no sealed store key: restore it from a backup"):
        load_key_files(tmp_path, service.open)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_no_sealed_key(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"{store_key_id(KEY).hex()}.kms"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StoreKeyError, match=f"{path} holds no sealed store key"):
        load_key_files(tmp_path, Service().open)


def test_a_sealed_key_under_another_name_is_refused(tmp_path: Path) -> None:
    service = Service()
    create_key_file(tmp_path, service.generate)
    (path,) = tmp_path.iterdir()
    other = path.rename(tmp_path / f"{store_key_id(KEY).hex()}.kms")
    with pytest.raises(StoreKeyError, match=f"{other} does not hold the key that its name says"):
        load_key_files(tmp_path, service.open)


# --- given from outside


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
