"""Checkpoints: signed statements of which record the log had come to, and when.

A checkpoint is a signed note (c2sp.org/signed-note, Ed25519) whose text has the lines of c2sp.org/tlog-checkpoint, though
the log is a chain and no tree: the hash is that of the record.

    <origin, the name of the key>
    <sequence of the newest record>
    <its hash, base64>
    time 2026-01-02T03:04:05Z

    — <name of the key> <base64(key id || signature)>

This module signs and verifies texts. It keeps no key and opens no file.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"  # signed-note's type identifier
_KEY_SIZE, _KEY_ID_SIZE = 32, 4
_DASH = "\N{EM DASH} "
_NAME = re.compile(r"[^\s+]+")
_BODY = re.compile(
    r"(?P<origin>[^\n]+)\n(?P<sequence>0|[1-9][0-9]{0,18})\n(?P<hash>[A-Za-z0-9+/]{43}=)\n"
    r"time (?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)\n"
)


class BadNote(Exception):
    """A note, or a key to verify one, is malformed or signed wrongly. The text is meant for people."""


class UnknownKey(BadNote):
    """The note is signed, but not by the key that it was verified with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """`time`: UTC, as `2026-01-02T03:04:05Z`."""

    origin: str
    sequence: int
    hash: bytes
    time: str


def new_signing_key() -> bytes:
    """A fresh Ed25519 private key (RFC 8032), 32 bytes: a secret."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


class Verifier:
    """A public key with its name. Made of signed-note's text form, "<name>+<key id>+<base64(type || key)>"."""

    __slots__ = ("_public_key", "key_id", "name", "text")

    def __init__(self, text: str) -> None:
        """Raises BadNote."""
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _decoded(encoded)
        if not _NAME.fullmatch(name) or raw is None or raw[:1] != _ED25519 or len(raw) != 1 + _KEY_SIZE:
            raise BadNote("this is not a public key as `strongroom audit key` prints it")
        self.name = name
        self.key_id = _key_id(name, raw[1:])
        if self.key_id.hex() != key_id:
            raise BadNote("the public key does not belong to the id that stands before it: it was mistyped or cut")
        self.text = text
        self._public_key = Ed25519PublicKey.from_public_bytes(raw[1:])

    def verify(self, note: str) -> str:
        """The text of a note that this key signed. Raises UnknownKey, BadNote."""
        text, separator, signatures = note.rpartition("\n\n")
        if not separator or not signatures.endswith("\n") or any(c < " " and c != "\n" for c in note):
            raise BadNote("it is not a signed note")
        text += "\n"
        verified = False
        for line in signatures[:-1].split("\n"):
            name, _, encoded = line.removeprefix(_DASH).partition(" ")
            raw = _decoded(encoded)
            if not line.startswith(_DASH) or not _NAME.fullmatch(name) or raw is None or len(raw) <= _KEY_ID_SIZE:
                raise BadNote("it is not a signed note")
            if (name, raw[:_KEY_ID_SIZE]) != (self.name, self.key_id):
                continue  # of another key: signed-note has them ignored
            try:
                self._public_key.verify(raw[_KEY_ID_SIZE:], text.encode())
            except (InvalidSignature, UnicodeEncodeError):
                raise BadNote("its signature is wrong") from None
            verified = True
        if not verified:
            raise UnknownKey("another key signed it")
        return text


class Signer:
    """The private key of a log. `name` becomes the origin of its checkpoints: no white space, no plus sign."""

    __slots__ = ("_private_key", "verifier")

    def __init__(self, key: bytes, name: str) -> None:
        """`key`: of `new_signing_key`. Raises ValueError for one of another length, BadNote for the name."""
        self._private_key = Ed25519PrivateKey.from_private_bytes(key)
        public = self._private_key.public_key().public_bytes_raw()
        encoded = base64.b64encode(_ED25519 + public).decode()
        self.verifier = Verifier(f"{name}+{_key_id(name, public).hex()}+{encoded}")

    def sign(self, text: str) -> str:
        """The signed note. `text` ends with a newline and has no other control characters."""
        assert text.endswith("\n")
        signature = self._private_key.sign(text.encode())
        encoded = base64.b64encode(self.verifier.key_id + signature).decode()
        return f"{text}\n{_DASH}{self.verifier.name} {encoded}\n"

    def checkpoint(self, sequence: int, hash: bytes, time: str) -> str:
        """The note of a `Checkpoint`."""
        encoded = base64.b64encode(hash).decode()
        return self.sign(f"{self.verifier.name}\n{sequence}\n{encoded}\ntime {time}\n")


def open_checkpoint(note: str, verifier: Verifier) -> Checkpoint:
    """What a note says, once its signature is verified. Raises UnknownKey, BadNote."""
    text = verifier.verify(note)
    if (match := _BODY.fullmatch(text)) is None or match["origin"] != verifier.name:
        raise BadNote("it is signed, but no checkpoint of this log")
    return Checkpoint(
        origin=match["origin"],
        sequence=int(match["sequence"]),
        hash=base64.b64decode(match["hash"]),
        time=match["time"],
    )


def _key_id(name: str, public_key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:_KEY_ID_SIZE]


def _decoded(text: str) -> bytes | None:
    """None for what is not standard base64 in its one form."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None
