"""XAES-256-GCM: seals the rows of the index, thousands a request.

https://c2sp.org/XAES-256-GCM: a 24-byte nonce, whose first half derives a subkey and whose second half is AES-256-GCM's
nonce. Both halves are random. The first is kept for a while, which makes rows cheap: a reader derives one subkey for up
to 2^20 rows, so a LIST of 1,000 pays for AES-GCM alone. Within one prefix the second halves of 2^20 rows collide with
probability 2^-57. XAES does not commit to its key; row keys are never chosen by a client, and rows name their key's
version.

This module knows no row: plaintext and additional data are bytes.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFCMAC, CounterLocation, Mode

from strongroom.crypto.errors import IntegrityError

ROWS_PER_PREFIX = 2**20
CACHED_SUBKEYS = 64

_KEY_SIZE = 32
_PREFIX_SIZE = 12
_NONCE_SIZE = 24
_TAG_SIZE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prefix:
    """The first half of the nonces of up to 2^20 rows, and their subkey. `rows` counts them."""

    process: int
    nonce: bytes
    subkey: AESGCM = field(repr=False)
    rows: Iterator[int]


class RowSealer:
    """Seals and opens rows under one row key. A message is nonce 24 || ciphertext || tag 16.

    Threads may share it. It has no lock, because a process forked while another thread holds one would wait for ever:
    each step is one operation that the interpreter does not divide, and what a race can cost is a prefix or a
    derivation too many.
    """

    __slots__ = ("_key", "_prefix", "_subkeys")

    def __init__(self, key: bytes) -> None:
        """`key`: 32 uniformly random bytes. Raises ValueError for any other length."""
        if len(key) != _KEY_SIZE:
            raise ValueError(f"a row key has {_KEY_SIZE} bytes")
        self._key = key
        self._subkeys: dict[bytes, AESGCM] = {}
        self._prefix = self._draw_prefix()

    def seal(self, plaintext: bytes, ad: bytes) -> bytes:
        """A message of len(plaintext) + 40 bytes, bound to `ad` (additional data)."""
        prefix = self._prefix
        # A forked child draws its own: its rows and its parent's under one prefix would together pass the limit.
        while prefix.process != os.getpid() or next(prefix.rows) >= ROWS_PER_PREFIX:
            prefix = self._prefix = self._draw_prefix()
        nonce = os.urandom(_NONCE_SIZE - _PREFIX_SIZE)
        return prefix.nonce + nonce + prefix.subkey.encrypt(nonce, plaintext, ad)

    def open(self, message: bytes, ad: bytes) -> bytes:
        """The plaintext. Raises IntegrityError unless the message was sealed under this key with this `ad`."""
        if len(message) < _NONCE_SIZE + _TAG_SIZE:
            raise IntegrityError("the row is cut")
        prefix, nonce = message[:_PREFIX_SIZE], message[_PREFIX_SIZE:_NONCE_SIZE]
        cached = self._subkeys.get(prefix)
        subkey = cached or _subkey(self._key, prefix)
        try:
            plaintext = subkey.decrypt(nonce, memoryview(message)[_NONCE_SIZE:], ad)
        except InvalidTag:
            raise IntegrityError("the row does not authenticate") from None
        if cached is None:
            self._remember(prefix, subkey)
        return plaintext

    def _remember(self, prefix: bytes, subkey: AESGCM) -> None:
        """Only after a successful open: a forged row must not push good subkeys out."""
        if len(self._subkeys) >= CACHED_SUBKEYS:
            self._subkeys.clear()  # deriving them anew costs less than keeping an order would
        self._subkeys[prefix] = subkey

    def _draw_prefix(self) -> _Prefix:
        nonce = os.urandom(_PREFIX_SIZE)
        return _Prefix(process=os.getpid(), nonce=nonce, subkey=_subkey(self._key, nonce), rows=count())


def _subkey(key: bytes, prefix: bytes) -> AESGCM:
    """SP 800-108r1 in counter mode with CMAC-AES256: 16-bit counter, label "X", context `prefix`, no L ("Overview")."""
    fixed = b"X\x00" + prefix
    kdf = KBKDFCMAC(AES256, Mode.CounterMode, _KEY_SIZE, 2, None, CounterLocation.BeforeFixed, None, None, fixed)
    return AESGCM(kdf.derive(key))
