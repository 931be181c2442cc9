"""strongroom.kms.slots: whose key opens, whose is refused, and what people are told."""

import base64
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.secret_key import SecretKey
from strongroom.kms import slots
from strongroom.kms.slots import (
    Credential,
    Environment,
    Given,
    KeyFile,
    Passphrase,
    Slot,
    SlotError,
    SlotKeyMissing,
    decode_source,
    encode_source,
    passphrase_key,
    read_key,
    sealed_slot,
    slot_key,
    unseal,
)
from tests.unit.kms.kms_stores import PHRASE, QUICK

KEY, OTHER, ROOT = (bytes([start, *range(200, 231)]) for start in (1, 2, 3))
TEXT, OTHER_TEXT = base64.b64encode(KEY).decode(), base64.b64encode(OTHER).decode()
STORE = b"s" * 16


def given(directory: Path, **more: Any) -> Given:
    return Given(**{"directory": directory, "environ": {}, **more})


def slot(name: str, source: slots.Source, key: bytes | SecretKey) -> Slot:
    made = Slot(
        slot_id=name.encode().ljust(16, b"-"),
        name=name,
        source=source,
        created_us=1,
        fingerprint=b"",
        root_version=1,
        sealed=b"",
    )
    held = key if isinstance(key, SecretKey) else SecretKey(key)
    return sealed_slot(made, held, SecretKey(ROOT), 1, store_id=STORE)


def key_file(directory: Path, content: str, mode: int = 0o600) -> Path:
    path = directory / "root.key"
    path.write_text(content)
    path.chmod(mode)
    return path


# --- sources of keys


def test_a_key_file_is_read_with_or_without_the_end_of_its_line(tmp_path: Path) -> None:
    for content in (TEXT, f"{TEXT}\n"):
        key_file(tmp_path, content)
        assert read_key(KeyFile("root.key"), given(tmp_path), "x").material == KEY


def test_a_key_file_may_be_anywhere(tmp_path: Path) -> None:
    path = key_file(tmp_path, TEXT)
    assert read_key(KeyFile(str(path)), given(tmp_path / "elsewhere"), "x").material == KEY


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "this one has 0"),
        ("no base64!", "it is not base64"),
        (base64.b64encode(KEY[:31]).decode(), "this one has 31"),
        (base64.b64encode(KEY + b"x").decode(), "this one has 33"),
        (base64.b64encode(b"\0" * 32).decode(), "all bytes of the master key are equal"),
        (base64.b64encode(b"thirty-two characters of text..x").decode(), "printable text"),
    ],
)
def test_a_weak_or_broken_key_is_refused_wherever_it_comes_from(tmp_path: Path, content: str, told: str) -> None:
    key_file(tmp_path, content)
    (tmp_path / slots.KEY_CREDENTIAL).write_text(content)
    credential = given(tmp_path, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    for source, where in ((KeyFile("root.key"), given(tmp_path)), (Credential(), credential)):
        with pytest.raises(SlotError, match=told) as refused:
            read_key(source, where, "x")
        assert not isinstance(refused.value, SlotKeyMissing)
    if content:
        with pytest.raises(SlotError, match=told):
            read_key(Environment(), given(tmp_path, environ={slots.KEY_VARIABLE: content}), "x")


def test_a_key_file_that_others_can_read_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = key_file(tmp_path, TEXT, 0o640)
    with pytest.raises(SlotError, match=f"run `chmod 600 {path}`"):
        read_key(KeyFile("root.key"), given(tmp_path), "x")


def test_only_a_file_that_is_not_there_counts_as_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = KeyFile("root.key")
    with pytest.raises(SlotKeyMissing, match="does not exist"):
        read_key(source, given(tmp_path), "x")
    (tmp_path / "root.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SlotError) as refused:
        read_key(source, given(tmp_path), "x")
    assert not isinstance(refused.value, SlotKeyMissing)
    (tmp_path / "root.key").unlink()
    key_file(tmp_path, TEXT)

    def fails(*_: object, **__: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(SlotError, match="Input/output error") as refused:
        read_key(source, given(tmp_path), "x")
    assert not isinstance(refused.value, SlotKeyMissing)


def test_environment_and_credential(tmp_path: Path) -> None:
    assert read_key(Environment(), given(tmp_path, environ={slots.KEY_VARIABLE: TEXT}), "x").material == KEY
    with pytest.raises(SlotKeyMissing, match=slots.KEY_VARIABLE):
        read_key(Environment(), given(tmp_path, environ={slots.KEY_VARIABLE: ""}), "x")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    with pytest.raises(SlotKeyMissing, match=f"LoadCredential={slots.KEY_CREDENTIAL}"):
        read_key(Credential(), given(tmp_path, environ=environ), "x")
    (tmp_path / slots.KEY_CREDENTIAL).write_text(TEXT + "\n")
    assert read_key(Credential(), given(tmp_path, environ=environ), "x").material == KEY
    (tmp_path / slots.KEY_CREDENTIAL).unlink()
    (tmp_path / slots.KEY_CREDENTIAL).mkdir()
    with pytest.raises(SlotError, match="can't be read"):
        read_key(Credential(), given(tmp_path, environ=environ), "x")


# --- passphrases


@pytest.mark.parametrize(
    "changed",
    [
        {"memory_kib": (64 << 10) - 1},
        {"memory_kib": (1 << 20) + 1},
        {"memory_kib": 1 << 40},
        {"iterations": 0},
        {"iterations": 11},
        {"lanes": 0},
        {"lanes": 17},
        {"salt": b""},
        {"salt": b"s" * 15},
    ],
    ids=str,
)
def test_argon2_parameters_out_of_bounds_are_refused_before_use(
    changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "Argon2id", lambda **_: pytest.fail("used"))
    with pytest.raises(SlotError, match="out of bounds"):
        passphrase_key(PHRASE, msgspec.structs.replace(QUICK, **changed))


def test_the_default_parameters_are_in_bounds_and_beyond_the_recommendation() -> None:
    """RFC 9106, 4: the second recommended option has 64 MiB, 3 iterations, 4 lanes."""
    made = Passphrase(salt=bytes(16))
    assert (made.memory_kib, made.iterations, made.lanes) == (256 << 10, 3, 4)
    assert made.memory_kib in slots.MEMORY_KIB


def test_a_passphrase_is_exact_text() -> None:
    assert passphrase_key(PHRASE, QUICK).same_as(passphrase_key(PHRASE, QUICK))
    for other in (f"{PHRASE} ", PHRASE.upper(), PHRASE.replace("e", "é")):
        assert not passphrase_key(PHRASE, QUICK).same_as(passphrase_key(other, QUICK))
    assert not passphrase_key("\u00e4" * 12, QUICK).same_as(passphrase_key("a\u0308" * 12, QUICK))
    with pytest.raises(SlotError, match="no text"):
        passphrase_key("\ud800" * 12, QUICK)


def test_a_salt_makes_another_key() -> None:
    other = msgspec.structs.replace(QUICK, salt=b"t" * 16)
    assert not passphrase_key(PHRASE, QUICK).same_as(passphrase_key(PHRASE, other))


@pytest.mark.parametrize("weak", ["", "short", "elevenchars", "aaaaaaaaaaaaaaaa", "abababababababab"])
def test_a_weak_passphrase_is_refused(weak: str) -> None:
    with pytest.raises(SlotError, match="too weak"):
        slots.check_passphrase(weak)


def test_a_passphrase_is_found_where_it_was_given(tmp_path: Path) -> None:
    environ = {slots.PASSPHRASE_VARIABLE: PHRASE}
    assert given(tmp_path, environ=environ).passphrase("x") == PHRASE
    assert given(tmp_path, environ=environ, passphrases={"x": "for x"}).passphrase("x") == "for x"
    assert given(tmp_path, environ=environ, passphrases={"x": "for x"}).passphrase("y") == PHRASE
    assert given(tmp_path).passphrase("x") is None
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert given(tmp_path, environ=environ).passphrase("x") is None
    (tmp_path / slots.PASSPHRASE_CREDENTIAL).write_text(PHRASE + " \n")
    assert given(tmp_path, environ=environ).passphrase("x") == PHRASE + " "
    (tmp_path / slots.PASSPHRASE_CREDENTIAL).write_bytes(b"\xff")
    with pytest.raises(SlotError, match="not UTF-8"):
        given(tmp_path, environ=environ).passphrase("x")


# --- opening


def test_any_one_slot_opens_the_root(tmp_path: Path) -> None:
    made = [
        slot("file", KeyFile("root.key"), KEY),
        slot("phrase", QUICK, passphrase_key(PHRASE, QUICK)),
        slot("env", Environment(), OTHER),
    ]
    key_file(tmp_path, TEXT)
    by_file = unseal(made, given(tmp_path), store_id=STORE)
    assert by_file.root.material == ROOT
    assert (by_file.slot.name, by_file.warnings) == ("file", ())
    (tmp_path / "root.key").unlink()
    environ = {slots.PASSPHRASE_VARIABLE: PHRASE}
    assert unseal(made, given(tmp_path, environ=environ), store_id=STORE).slot.name == "phrase"
    environ = {slots.KEY_VARIABLE: OTHER_TEXT}
    assert unseal(made, given(tmp_path, environ=environ), store_id=STORE).slot.name == "env"


def test_a_wrong_key_is_told_by_the_slots_name_and_the_fingerprints(tmp_path: Path) -> None:
    made = slot("main", KeyFile("root.key"), KEY)
    key_file(tmp_path, OTHER_TEXT)
    with pytest.raises(SlotError) as refused:
        unseal([made], given(tmp_path), store_id=STORE)
    text = str(refused.value)
    assert "slot 'main' (key file root.key)" in text
    for key in (KEY, OTHER):
        assert slots.slot_fingerprint(SecretKey(key)).hex() in text
    assert "from a backup" in text


def test_every_slot_that_does_not_open_has_its_line(tmp_path: Path) -> None:
    made = [
        slot("file", KeyFile("root.key"), KEY),
        slot("phrase", QUICK, passphrase_key(PHRASE, QUICK)),
        slot("env", Environment(), KEY),
        slot("systemd", Credential(), KEY),
    ]
    environ = {slots.PASSPHRASE_VARIABLE: "the wrong passphrase"}
    with pytest.raises(SlotError) as refused:
        unseal(made, given(tmp_path, environ=environ), store_id=STORE)
    lines = str(refused.value).splitlines()[1:]
    assert [line.split("'")[1] for line in lines] == ["file", "env", "systemd", "phrase"]
    assert "does not exist" in lines[0]
    assert lines[3].endswith("the passphrase is wrong")
    assert "wrong passphrase" not in str(refused.value)


def test_no_slots_open_nothing(tmp_path: Path) -> None:
    with pytest.raises(SlotError, match="It has none"):
        unseal([], given(tmp_path), store_id=STORE)


def test_a_given_key_that_opens_nothing_is_a_warning_where_another_slot_opens(tmp_path: Path) -> None:
    made = [slot("env", Environment(), KEY), slot("file", KeyFile("root.key"), KEY)]
    key_file(tmp_path, TEXT)
    environ = {slots.KEY_VARIABLE: OTHER_TEXT}
    found = unseal(made, given(tmp_path, environ=environ), store_id=STORE)
    assert found.slot.name == "file"
    assert "slot 'env' (environment): the key given is" in found.warnings[0]
    unused = unseal(made[1:], given(tmp_path, environ=environ), store_id=STORE)
    assert unused.warnings == (f"{slots.KEY_VARIABLE} is set, but no unseal slot takes its key from the environment",)


def test_a_passphrase_that_opens_one_of_two_slots_is_no_warning(tmp_path: Path) -> None:
    another = slot("another", QUICK, passphrase_key("the passphrase of another", QUICK))
    phrase = slot("phrase", QUICK, passphrase_key(PHRASE, QUICK))
    found = unseal([another, phrase], given(tmp_path, environ={slots.PASSPHRASE_VARIABLE: PHRASE}), store_id=STORE)
    assert (found.slot.name, found.warnings) == ("phrase", ())
    key_file(tmp_path, OTHER_TEXT)
    damaged = slot("file", KeyFile("root.key"), KEY)
    found = unseal([damaged, phrase], given(tmp_path, environ={slots.PASSPHRASE_VARIABLE: PHRASE}), store_id=STORE)
    assert [warning.split(":")[0] for warning in found.warnings] == ["slot 'file' (key file root.key)"]


def test_a_person_is_asked_only_where_nothing_else_opens(tmp_path: Path) -> None:
    made = [slot("file", KeyFile("root.key"), KEY), slot("phrase", QUICK, passphrase_key(PHRASE, QUICK))]
    asked: list[list[str]] = []

    def answering(answer: str | None) -> Given:
        return given(tmp_path, ask=lambda names: asked.append(list(names)) or answer)  # type: ignore[func-returns-value]

    assert unseal(made, answering(PHRASE), store_id=STORE).slot.name == "phrase"
    assert asked == [["phrase"]]
    with pytest.raises(SlotError, match="the passphrase is wrong"):
        unseal(made, answering("something else"), store_id=STORE)
    with pytest.raises(SlotError, match="no passphrase was given"):
        unseal(made, answering(None), store_id=STORE)
    asked.clear()
    key_file(tmp_path, TEXT)
    assert unseal(made, answering(PHRASE), store_id=STORE).slot.name == "file"
    assert asked == []


@pytest.mark.parametrize(
    "changed",
    [{"slot_id": b"x" * 16}, {"source": KeyFile("./root.key")}, {"root_version": 2}, {"sealed": b"\1"}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_slot_that_was_edited_is_told_as_such(tmp_path: Path, changed: dict[str, Any]) -> None:
    key_file(tmp_path, TEXT)
    made = msgspec.structs.replace(slot("main", KeyFile("root.key"), KEY), **changed)
    with pytest.raises(SlotError, match="damaged or edited"):
        unseal([made], given(tmp_path), store_id=STORE)


def test_a_slot_of_another_store_does_not_open(tmp_path: Path) -> None:
    key_file(tmp_path, TEXT)
    with pytest.raises(SlotError, match="damaged or edited"):
        unseal([slot("main", KeyFile("root.key"), KEY)], given(tmp_path), store_id=b"t" * 16)


def test_slot_key__is_for_this_slot_alone(tmp_path: Path) -> None:
    made = slot("phrase", QUICK, passphrase_key(PHRASE, QUICK))
    right = given(tmp_path, passphrases={"phrase": PHRASE})
    assert slot_key(made, right).same_as(passphrase_key(PHRASE, QUICK))
    with pytest.raises(SlotKeyMissing, match="slot 'phrase'"):
        slot_key(made, given(tmp_path, passphrases={"other": PHRASE}))


def test_sources_are_stored_and_read_to_the_byte() -> None:
    for source in (KeyFile("root.key"), QUICK, Environment(), Credential()):
        assert decode_source(encode_source(source)) == source
    for wrong in (b"", b"\xc0", b"\x91\xa7unknown", encode_source(QUICK)[:-1]):
        with pytest.raises(IntegrityError):
            decode_source(wrong)


def test_nothing_shows_a_key_or_a_passphrase(tmp_path: Path) -> None:
    canary = "canary-canary-canary"
    shown = repr(
        given(
            tmp_path, environ={slots.KEY_VARIABLE: canary, slots.PASSPHRASE_VARIABLE: canary}, passphrases={"a": canary}
        )
    )
    assert "canary" not in shown
