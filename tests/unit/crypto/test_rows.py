"""strongroom.crypto.rows: nonces, the subkey cache, threads and forks."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import pytest

from strongroom.crypto import rows
from strongroom.crypto.errors import IntegrityError, KeyMismatch
from strongroom.crypto.rows import CACHED_SUBKEYS, RowSealer

KEY = bytes(range(32))
AD = b"every clear column"


def test_message__opens_in_another_process_or_later() -> None:
    message = RowSealer(KEY).seal(b"row", AD)
    assert len(message) == 24 + 3 + 16
    assert RowSealer(KEY).open(message, AD) == b"row"


@pytest.mark.parametrize("size", [0, 31, 33])
def test_key__has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        RowSealer(bytes(size))


def test_another_key_or_additional_data__does_not_open() -> None:
    message = RowSealer(KEY).seal(b"row", AD)
    with pytest.raises(IntegrityError) as caught:
        RowSealer(bytes(32)).open(message, AD)
    assert not isinstance(caught.value, KeyMismatch)  # XAES does not commit: nothing can be said of the key
    for ad in (b"", AD[:-1], AD + b"\0"):
        with pytest.raises(IntegrityError):
            RowSealer(KEY).open(message, ad)


def test_any_bit_changed_and_any_length_cut__does_not_open() -> None:
    sealer = RowSealer(KEY)
    message = sealer.seal(b"row", AD)
    for at in range(len(message)):
        changed = bytearray(message)
        changed[at] ^= 0x10
        for damaged in (bytes(changed), message[:at], message[at + 1 :]):
            with pytest.raises(IntegrityError):
                sealer.open(damaged, AD)


# --- nonces


def test_nonces__of_a_million_rows_are_unique() -> None:
    """Drawn from many sealers and across the change of a prefix, as a store's life would."""
    sealers = [RowSealer(KEY) for _ in range(100)]
    nonces = {sealer.seal(b"", b"")[:24] for sealer in sealers for _ in range(10_000)}
    assert len(nonces) == 1_000_000


def test_prefix__is_kept_for_its_rows_and_then_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ROWS_PER_PREFIX", 10)
    sealer = RowSealer(KEY)
    prefixes = [sealer.seal(b"", b"")[:12] for _ in range(30)]
    assert [prefixes.count(prefix) for prefix in dict.fromkeys(prefixes)] == [10, 10, 10]


def test_prefix__is_drawn_per_sealer() -> None:
    assert RowSealer(KEY).seal(b"", b"")[:12] != RowSealer(KEY).seal(b"", b"")[:12]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_prefix__is_drawn_anew_in_a_forked_child() -> None:
    sealer = RowSealer(KEY)
    before = sealer.seal(b"row", AD)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:  # no test framework below: the child says what it wrote and is gone
        try:
            os.write(write_end, sealer.seal(b"child", AD))
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        message = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert message[:12] != before[:12]
    assert sealer.open(message, AD) == b"child"
    assert sealer.seal(b"row", AD)[:12] == before[:12]


def test_threads__share_a_sealer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ROWS_PER_PREFIX", 50)
    sealer = RowSealer(KEY)
    with ThreadPoolExecutor(8) as pool:
        messages = list(pool.map(sealer.seal, (n.to_bytes(4) for n in range(5000)), repeat(AD)))
        opened = list(pool.map(sealer.open, messages, repeat(AD)))
    assert opened == [n.to_bytes(4) for n in range(5000)]
    assert len({message[:24] for message in messages}) == 5000
    prefixes = [message[:12] for message in messages]
    assert max(prefixes.count(prefix) for prefix in set(prefixes)) <= 50


# --- the subkey cache


def test_subkeys__are_remembered_only_after_a_successful_open() -> None:
    sealer = RowSealer(KEY)
    message = RowSealer(KEY).seal(b"row", AD)
    with pytest.raises(IntegrityError):
        sealer.open(message, b"forged")
    assert not sealer._subkeys
    sealer.open(message, AD)
    assert list(sealer._subkeys) == [message[:12]]


def test_subkeys__stay_bounded() -> None:
    sealer = RowSealer(KEY)
    messages = [RowSealer(KEY).seal(b"row", AD) for _ in range(3 * CACHED_SUBKEYS)]
    for message in messages + messages[::-1]:
        assert sealer.open(message, AD) == b"row"
        assert len(sealer._subkeys) <= CACHED_SUBKEYS


def test_key__is_neither_shown_nor_pickled() -> None:
    sealer = RowSealer(b"canary-canary-canary-canary-cana")
    assert "canary" not in repr(sealer) + str(sealer)
    assert "canary" not in repr(sealer._prefix)
    with pytest.raises(TypeError):
        pickle.dumps(sealer)
