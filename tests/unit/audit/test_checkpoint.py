"""Checkpoints are signed notes: against the vectors of the specification and of Go, and an independent verifier."""

import base64
import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from strongroom.audit.checkpoint import (
    BadNote,
    Checkpoint,
    Signer,
    UnknownKey,
    Verifier,
    new_signing_key,
    open_checkpoint,
)

# golang.org/x/mod/sumdb/note, note.go and note_test.go
GO_PRIVATE_KEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_PUBLIC_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_SIGNATURE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
GO_OTHER_KEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
HASH = bytes(range(32))
TIME = "2026-01-02T03:04:05Z"


def go_signer() -> Signer:
    return Signer(base64.b64decode(GO_PRIVATE_KEY.split("+", 4)[4])[1:], "PeterNeumann")


def verify_independently(note: str, vkey: str) -> str:
    """c2sp.org/signed-note by the letter, for one key and one signature."""
    name, key_id, encoded = vkey.split("+", 2)
    key = base64.b64decode(encoded)
    assert key[0] == 1
    assert hashlib.sha256(name.encode() + b"\x0a" + key).digest()[:4].hex() == key_id
    at = note.rindex("\n\n")
    text, signature = note[: at + 1], note[at + 2 :]
    dash, signed_by, encoded = signature.rstrip("\n").split(" ")
    raw = base64.b64decode(encoded)
    assert (dash, signed_by, raw[:4].hex()) == ("\u2014", name, key_id)
    Ed25519PublicKey.from_public_bytes(key[1:]).verify(raw[4:], text.encode())
    return text


def test_gos_note_is_reproduced_to_the_byte():
    signer = go_signer()
    assert signer.verifier.text == GO_PUBLIC_KEY
    assert signer.sign(GO_TEXT) == GO_TEXT + "\n" + GO_SIGNATURE


def test_gos_note_verifies_and_no_changed_one_does():
    verifier, note = Verifier(GO_PUBLIC_KEY), GO_TEXT + "\n" + GO_SIGNATURE
    assert verifier.verify(note) == GO_TEXT
    for at in range(len(note)):
        with pytest.raises(BadNote):
            verifier.verify(note[:at] + chr(ord(note[at]) ^ 1) + note[at + 1 :])
        with pytest.raises(BadNote):
            verifier.verify(note[:at])


def test_signatures_of_unknown_keys_are_ignored_and_do_not_help():
    other = Signer(bytes(range(32)), "other")
    line = other.sign(GO_TEXT).splitlines(keepends=True)[-1]
    verifier = Verifier(GO_PUBLIC_KEY)
    assert verifier.verify(GO_TEXT + "\n" + line + GO_SIGNATURE) == GO_TEXT
    with pytest.raises(UnknownKey):
        verifier.verify(GO_TEXT + "\n" + line)
    # The same name with another key is an unknown key as well.
    with pytest.raises(UnknownKey):
        verifier.verify(Signer(bytes(range(32)), "PeterNeumann").sign(GO_TEXT))


def test_text_with_empty_lines_is_split_at_the_last_one():
    signer, text = go_signer(), "a\n\nb\n"
    assert verify_independently(signer.sign(text), GO_PUBLIC_KEY) == text
    assert signer.verifier.verify(signer.sign(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PeterNeumann",
        GO_PUBLIC_KEY[:-4],
        GO_PUBLIC_KEY.replace("c74f20a3", "c74f20a4"),
        GO_PUBLIC_KEY.replace("c74f20a3", "C74F20A3"),
        GO_PUBLIC_KEY.replace("PeterNeumann", "Peter Neumann"),
        GO_PUBLIC_KEY.replace("PeterNeumann", ""),
        GO_PUBLIC_KEY + "\n",
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",  # Go: wrong length
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",  # Go: unknown algorithm
        GO_PRIVATE_KEY,
    ],
)
def test_a_malformed_public_key_is_refused(text):
    with pytest.raises(BadNote):
        Verifier(text)


def test_another_implementations_keys_are_read():
    assert Verifier(GO_OTHER_KEY).name == "EnochRoot"
    assert Verifier("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k").key_id.hex() == "530d903a"


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b"])
def test_a_name_that_notes_cannot_carry_is_refused(name):
    with pytest.raises(BadNote):
        Signer(new_signing_key(), name)


def test_a_key_of_another_length_is_refused_and_keys_differ():
    with pytest.raises(ValueError):
        Signer(new_signing_key()[:31], "name")
    assert len({new_signing_key() for _ in range(10)}) == 10


def test_the_private_key_is_in_no_text_of_its_signer():
    key = new_signing_key()
    signer = Signer(key, "name")
    for text in (repr(signer), str(signer), signer.verifier.text, signer.sign("x\n")):
        assert key.hex() not in text
        assert base64.b64encode(key).decode()[:40] not in text


def test_a_checkpoint_has_the_lines_of_tlog_checkpoint_and_the_time():
    signer = Signer(bytes(range(32)), "strongroom.test/audit")
    note = signer.checkpoint(4711, HASH, TIME)
    text = verify_independently(note, signer.verifier.text)
    assert text.split("\n") == [
        "strongroom.test/audit",
        "4711",
        base64.b64encode(HASH).decode(),
        "time 2026-01-02T03:04:05Z",
        "",
    ]
    assert open_checkpoint(note, signer.verifier) == Checkpoint(
        origin="strongroom.test/audit", sequence=4711, hash=HASH, time=TIME
    )


@pytest.mark.parametrize(
    "text",
    [
        "x\n",
        f"another\n1\n{base64.b64encode(HASH).decode()}\ntime {TIME}\n",
        f"name\n01\n{base64.b64encode(HASH).decode()}\ntime {TIME}\n",
        f"name\n1\n{base64.b64encode(HASH[:31]).decode()}\ntime {TIME}\n",
        f"name\n1\n{base64.b64encode(HASH).decode()}\n",
        f"name\n1\n{base64.b64encode(HASH).decode()}\ntime {TIME}\nmore\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint_of_this_log_is_refused(text):
    signer = Signer(bytes(range(32)), "name")
    with pytest.raises(BadNote, match="no checkpoint of this log"):
        open_checkpoint(signer.sign(text), signer.verifier)


def test_the_independent_verifier_refuses_what_ours_refuses():
    note = Signer(bytes(range(32)), "name").checkpoint(1, HASH, TIME)
    with pytest.raises(InvalidSignature):
        verify_independently(note.replace("\n1\n", "\n2\n"), Signer(bytes(range(32)), "name").verifier.text)
