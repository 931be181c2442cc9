import configparser
import io
import os
import re
import stat
from pathlib import Path

import pytest

from strongroom.identity import root
from strongroom.identity.root import RootCredentialsError, load_root

ACCOUNT = "123456789012"
GIVEN = {root.ID_VARIABLE: "operator", root.SECRET_VARIABLE: "correct-horse-battery-staple"}


def write(data_dir: Path, content: bytes) -> Path:
    path = data_dir / "credentials"
    path.touch(0o600)
    path.write_bytes(content)
    return path


def test_credentials_are_made_once(tmp_path) -> None:
    made = load_root(tmp_path, {}, ACCOUNT)
    assert re.fullmatch(r"SR[A-Z2-7]{18}", made.credentials.access_key_id)
    assert re.fullmatch(r"[A-Za-z0-9]{40}", made.credentials.secret_access_key)
    assert made.principal.arn == "arn:aws:iam::123456789012:root"
    assert load_root(tmp_path, {}, ACCOUNT) == made
    assert os.listdir(tmp_path) == ["credentials"]


def test_each_store_has_its_own(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = (load_root(tmp_path / name, {}, ACCOUNT).credentials for name in "ab")
    assert first.access_key_id != second.access_key_id
    assert first.secret_access_key != second.secret_access_key


def test_the_file_is_private_whatever_the_umask_and_botocore_reads_it(tmp_path, monkeypatch) -> None:
    import botocore.session

    before = os.umask(0)
    try:
        made = load_root(tmp_path, {}, ACCOUNT).credentials
    finally:
        os.umask(before)
    path = tmp_path / "credentials"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    read = botocore.session.Session(profile="strongroom").get_credentials()
    assert read is not None
    assert (read.access_key, read.secret_key) == (made.access_key_id, made.secret_access_key)


def test_the_environment_wins_and_is_never_written_down(tmp_path) -> None:
    assert load_root(tmp_path, GIVEN, ACCOUNT).credentials.access_key_id == "operator"
    assert os.listdir(tmp_path) == []
    kept = load_root(tmp_path, {}, ACCOUNT)
    before = (tmp_path / "credentials").read_bytes()
    assert load_root(tmp_path, GIVEN, ACCOUNT) != kept
    assert (tmp_path / "credentials").read_bytes() == before
    assert load_root(tmp_path, {}, ACCOUNT) == kept


@pytest.mark.parametrize("alone", [root.ID_VARIABLE, root.SECRET_VARIABLE])
def test_one_variable_alone_is_refused(tmp_path, alone) -> None:
    with pytest.raises(RootCredentialsError, match=r"go together, but STRONGROOM_\w+ is not set"):
        load_root(tmp_path, {alone: GIVEN[alone]}, ACCOUNT)


@pytest.mark.parametrize(
    ("access_key_id", "secret"),
    [
        ("minioadmin", "minioadmin"),
        ("rustfsadmin", "rustfsadmin"),
        ("admin", "password"),
        ("admin", "admin"),
        ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("operator", "changemechangeme"),
        ("operator", "fifteen-letters"),
        ("operator", "aaaaaaaaaaaaaaaaaaaaaaaa"),
        ("operator", "abababababababababababab"),
        ("operator-operator", "operator-operator"),
        ("operator", "with a line\nbreak in it"),
        ("operator", " correct-horse-battery-staple"),
        ("operator", "schlüssel-schlüssel-schlüssel"),
        ("a/b", "correct-horse-battery-staple"),
        ("a=b,c", "correct-horse-battery-staple"),
        ("ab", "correct-horse-battery-staple"),
        ("a" * 129, "correct-horse-battery-staple"),
    ],
)
def test_guessable_or_unusable_credentials_are_refused_without_being_repeated(tmp_path, access_key_id, secret) -> None:
    with pytest.raises(RootCredentialsError) as caught:
        load_root(tmp_path, {root.ID_VARIABLE: access_key_id, root.SECRET_VARIABLE: secret}, ACCOUNT)
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "[default]\naws_access_key_id = abc\naws_secret_access_key = correct-horse-battery-staple\n",
        "[strongroom]\naws_access_key_id = abc\n",
        "[strongroom]\naws_access_key_id = abc\naws_secret_access_key = short\n",
        "[strongroom]\naws_secret_access_key = correct-horse-battery-staple\nno equals sign\n",
    ],
)
def test_a_damaged_file_is_refused_and_kept(tmp_path, text) -> None:
    path = write(tmp_path, text.encode())
    with pytest.raises(RootCredentialsError, match=r"credentials (has no|gives a)") as caught:
        load_root(tmp_path, {}, ACCOUNT)
    assert "correct-horse" not in str(caught.value)
    assert path.read_text() == text


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_use_is_refused_with_the_way_out(tmp_path, mode) -> None:
    load_root(tmp_path, {}, ACCOUNT)
    path = tmp_path / "credentials"
    path.chmod(mode)
    with pytest.raises(RootCredentialsError, match=f"run `chmod 600 {path}`"):
        load_root(tmp_path, {}, ACCOUNT)
    path.chmod(0o600)
    load_root(tmp_path, {}, ACCOUNT)


def test_a_file_that_is_not_text_is_refused(tmp_path) -> None:
    write(tmp_path, b"\xff\xfe")
    with pytest.raises(RootCredentialsError, match="not a text file"):
        load_root(tmp_path, {}, ACCOUNT)


def test_a_file_that_cannot_be_read_never_counts_as_absent(tmp_path) -> None:
    (tmp_path / "credentials").mkdir()
    with pytest.raises(IsADirectoryError):
        load_root(tmp_path, {}, ACCOUNT)


def test_a_percent_sign_in_a_secret_is_a_percent_sign(tmp_path) -> None:
    parser = configparser.RawConfigParser()
    parser["strongroom"] = {"aws_access_key_id": "operator", "aws_secret_access_key": "50%-of-%(secrets)s-are"}
    text = io.StringIO()
    parser.write(text)
    write(tmp_path, text.getvalue().encode())
    assert load_root(tmp_path, {}, ACCOUNT).credentials.secret_access_key == "50%-of-%(secrets)s-are"


def test_secrets_do_not_show(tmp_path) -> None:
    made = load_root(tmp_path, {}, ACCOUNT)
    assert made.credentials.secret_access_key not in repr(made)
