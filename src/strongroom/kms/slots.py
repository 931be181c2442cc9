"""Unseal slots: several keys over one root key, like LUKS's, any one of which opens it.

A slot is sealed by a key of its own: of a key file that we make, of an environment variable or a systemd credential
(base64 of 32 random bytes each), or derived from a passphrase by Argon2id. Slot keys are stored nowhere by us but in
that key file; not under the root either, because whoever opened an old copy with a removed slot would get the keys of
all the others, and with them every later root.

A slot names its key by a fingerprint, so that a wrong one is told by the slot's name at start and never by a decrypt
that fails. This module knows the slots' sources and seals; it knows no database.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from msgspec import Struct

from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.kms_sealing import open_root, seal_root
from strongroom.crypto.sealing import decode_master_key, fingerprint
from strongroom.crypto.secret_key import SecretKey
from strongroom.crypto.segments import KEY_SIZE
from strongroom.database.private_file import NotPrivate, read_private

KEY_VARIABLE = "STRONGROOM_KMS_ROOT_KEY"
KEY_CREDENTIAL = "strongroom-kms-root-key"
PASSPHRASE_VARIABLE = "STRONGROOM_KMS_PASSPHRASE"  # noqa: S105 - the name of the variable
PASSPHRASE_CREDENTIAL = "strongroom-kms-passphrase"  # noqa: S105 - the name of the file
KEY_FILE = "root.key"
SHORTEST_PASSPHRASE = 12  # characters

MEMORY_KIB = range(64 << 10, (1 << 20) + 1)
ITERATIONS = range(1, 11)
LANES = range(1, 17)
_SALT_SIZE = 16

Kind = Literal["keyfile", "passphrase", "environment", "credential"]


class SlotError(Exception):
    """A slot can't be opened, made or removed. The text is for people, names the slot and holds no secret."""


class SlotKeyMissing(SlotError):
    """Nobody has given the slot's key: no reason for alarm where another slot opens."""


class _PassphraseWrong(SlotError):
    pass


class KeyFile(Struct, frozen=True, array_like=True, tag="keyfile"):
    """`path`: below DIR/kms, or absolute."""

    path: str


class Passphrase(Struct, frozen=True, array_like=True, tag="passphrase", kw_only=True):
    """Argon2id (RFC 9106). The defaults take one to two seconds of two processors: more memory than its second
    recommended option asks for (64 MiB), since whoever has a copy of kms.db guesses at leisure.
    """

    salt: bytes
    memory_kib: int = 256 << 10
    iterations: int = 3
    lanes: int = 4


class Environment(Struct, frozen=True, array_like=True, tag="environment"):
    pass


class Credential(Struct, frozen=True, array_like=True, tag="credential"):
    pass


Source = KeyFile | Passphrase | Environment | Credential


class Slot(Struct, frozen=True, kw_only=True, array_like=True):
    """`source`: where its key comes from. `fingerprint`: of that key. `sealed`: the root of that version."""

    slot_id: bytes
    name: str
    source: Source
    created_us: int
    fingerprint: bytes
    root_version: int
    sealed: bytes

    @property
    def kind(self) -> Kind:
        return kind_of(self.source)

    @property
    def shown(self) -> str:
        """For people: `slot 'default' (key file root.key)`."""
        what = {"keyfile": "key file", "passphrase": "passphrase"}.get(self.kind, self.kind)
        path = f" {self.source.path}" if isinstance(self.source, KeyFile) else ""
        return f"slot {self.name!r} ({what}{path})"


def kind_of(source: Source) -> Kind:
    match source:
        case KeyFile():
            return "keyfile"
        case Passphrase():
            return "passphrase"
        case Environment():
            return "environment"
        case Credential():
            return "credential"


def encode_source(source: Source) -> bytes:
    """The stored form of a slot's parameters, to the byte what its seal is bound to."""
    return msgspec.msgpack.encode(source)


def decode_source(parameters: bytes) -> Source:
    """Raises IntegrityError."""
    try:
        source: Source = msgspec.msgpack.decode(parameters, type=Source)
    except msgspec.DecodeError:
        raise IntegrityError("the parameters of an unseal slot cannot have been written") from None
    return source


# --- slot keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Where slot keys may be found. `directory`: DIR/kms. `passphrases`: by slot's name, for that slot alone. `ask`: asks
    a person, given the names of the slots that it may be for; None for "none".
    """

    directory: Path
    environ: Mapping[str, str] = field(repr=False)
    passphrases: Mapping[str, str] = field(default_factory=dict, repr=False)
    ask: Callable[[Sequence[str]], str | None] | None = None

    def path_of(self, source: KeyFile) -> Path:
        return self.directory / source.path  # an absolute path stays what it is

    def credential(self, name: str) -> bytes | None:
        """A systemd credential (systemd.exec(5), LoadCredential=), None where there is none. Raises SlotError."""
        directory = self.environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            return None
        try:
            return (Path(directory) / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SlotError(f"the credential {name} can't be read: {error.strerror}") from error

    def passphrase(self, slot_name: str) -> str | None:
        """What was given for this slot, or at the start for any. Raises SlotError."""
        if slot_name in self.passphrases:
            return self.passphrases[slot_name]
        if given := self.environ.get(PASSPHRASE_VARIABLE):
            return given
        credential = self.credential(PASSPHRASE_CREDENTIAL)
        if credential is None:
            return None
        try:
            return credential.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise SlotError(f"the credential {PASSPHRASE_CREDENTIAL} is not UTF-8 text") from None


def read_key(source: Source, given: Given, name: str) -> SecretKey:
    """The key that a slot of that name takes from `source`. Slow for a passphrase. Raises SlotError; SlotKeyMissing where
    there is none, and for no other reason: what can't be read never counts as absent.
    """
    match source:
        case KeyFile():
            return _read_key_file(given.path_of(source))
        case Environment():
            text = given.environ.get(KEY_VARIABLE)
            if not text:
                raise SlotKeyMissing(f"{KEY_VARIABLE} is not set")
            return _decoded(text.encode("utf-8", "surrogateescape"), KEY_VARIABLE)
        case Credential():
            credential = given.credential(KEY_CREDENTIAL)
            if credential is None:
                raise SlotKeyMissing(
                    f"there is no credential {KEY_CREDENTIAL}: the systemd unit needs LoadCredential={KEY_CREDENTIAL}:PATH"
                )
            return _decoded(credential, f"the credential {KEY_CREDENTIAL}")
        case Passphrase():
            passphrase = given.passphrase(name)
            if passphrase is None:
                raise SlotKeyMissing(
                    f"no passphrase was given ({PASSPHRASE_VARIABLE}, or the credential {PASSPHRASE_CREDENTIAL})"
                )
            return passphrase_key(passphrase, source)


def _read_key_file(path: Path) -> SecretKey:
    try:
        text = read_private(path)
    except FileNotFoundError:
        raise SlotKeyMissing(f"{path} does not exist: put it back from a backup") from None
    except NotPrivate as error:
        raise SlotError(str(error)) from None
    except OSError as error:
        raise SlotError(f"{path} can't be read: {error.strerror}") from error
    return _decoded(text, str(path))


def _decoded(text: bytes, where: str) -> SecretKey:
    try:
        return SecretKey(decode_master_key(text))
    except ValueError as error:
        raise SlotError(f"{where} holds no usable key: {error}; wanted is base64 of 32 random bytes") from None


def decode_key(text: str, where: str) -> SecretKey:
    """A key that somebody hands over: base64 of 32 random bytes. Raises SlotError."""
    return _decoded(text.encode("utf-8", "surrogateescape"), where)


def passphrase_key(passphrase: str, source: Passphrase) -> SecretKey:
    """Argon2id of the exact UTF-8 bytes. Raises SlotError, for parameters out of bounds before anything is done with
    them: whoever edits them must neither weaken the derivation nor take the machine's memory.
    """
    _check_parameters(source)
    try:
        secret = passphrase.encode()
    except UnicodeEncodeError:
        raise SlotError("the passphrase is no text") from None
    kdf = Argon2id(
        salt=source.salt,
        length=KEY_SIZE,
        iterations=source.iterations,
        lanes=source.lanes,
        memory_cost=source.memory_kib,
    )
    key = bytearray(KEY_SIZE)
    try:
        kdf.derive_into(secret, key)
    except MemoryError:
        raise SlotError(f"there are no {source.memory_kib >> 10} MiB of memory for Argon2id") from None
    return SecretKey(key)


def _check_parameters(source: Passphrase) -> None:
    sound = (
        source.memory_kib in MEMORY_KIB
        and source.iterations in ITERATIONS
        and source.lanes in LANES
        and len(source.salt) == _SALT_SIZE
    )
    if not sound:
        raise SlotError(
            f"Argon2id's parameters are out of bounds ({source.memory_kib} KiB, {source.iterations} iterations,"
            f" {source.lanes} lanes, salt of {len(source.salt)} bytes): permitted are 64 MiB to 1 GiB, 1 to 10, 1 to 16, 16"
        )


def new_passphrase_source() -> Passphrase:
    """With a salt of its own."""
    return Passphrase(salt=secrets.token_bytes(_SALT_SIZE))


def check_passphrase(passphrase: str) -> None:
    """Before one becomes a slot's. Raises SlotError."""
    if len(passphrase) < SHORTEST_PASSPHRASE or len(set(passphrase)) < SHORTEST_PASSPHRASE // 2:
        raise SlotError(
            f"the passphrase is too weak: use at least {SHORTEST_PASSPHRASE} characters, or better, five random words"
        )


# --- slots


def slot_fingerprint(key: SecretKey) -> bytes:
    return fingerprint(key.material, "kms-slot")


def sealed_slot(slot: Slot, key: SecretKey, root: SecretKey, root_version: int, *, store_id: bytes) -> Slot:
    """`slot` with the root of that version sealed in it by its key."""
    sealed = seal_root(
        key.material,
        root.material,
        store_id=store_id,
        slot_id=slot.slot_id,
        kind=slot.kind,
        parameters=encode_source(slot.source),
        root_version=root_version,
    )
    return msgspec.structs.replace(slot, fingerprint=slot_fingerprint(key), root_version=root_version, sealed=sealed)


def slot_key(slot: Slot, given: Given) -> SecretKey:
    """The key of this slot and no other. Raises SlotError, with the slot's name and what to do."""
    try:
        key = read_key(slot.source, given, slot.name)
    except SlotError as error:
        raise type(error)(f"{slot.shown}: {error}") from error.__cause__
    if compare_digest(slot_fingerprint(key), slot.fingerprint):
        return key
    if slot.kind == "passphrase":
        raise _PassphraseWrong(f"{slot.shown}: the passphrase is wrong")
    raise SlotError(
        f"{slot.shown}: the key given is {slot_fingerprint(key).hex()}, and the slot's is {slot.fingerprint.hex()}:"
        " give it the slot's key again, from a backup of it, or open with another slot"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsealed:
    """`warnings`: keys that were given and open nothing."""

    slot: Slot
    root: SecretKey
    warnings: tuple[str, ...]


def unseal(slots: Sequence[Slot], given: Given, *, store_id: bytes) -> Unsealed:
    """The root, opened by the first slot whose key is given; passphrases last, since they are slow and may need a
    person. Raises SlotError with a line for every slot.
    """
    refusals: list[SlotError] = []
    if given.environ.get(KEY_VARIABLE) and not any(slot.kind == "environment" for slot in slots):
        # Whoever gives a key believes that none lies on the disk.
        refusals.append(SlotError(f"{KEY_VARIABLE} is set, but no unseal slot takes its key from the environment"))
    for slot in sorted(slots, key=lambda slot: slot.kind == "passphrase"):
        try:
            return _unseal(slot, given, store_id, refusals)
        except SlotError as error:
            refusals.append(error)
    passphrase_slots = [slot for slot in slots if slot.kind == "passphrase"]
    if passphrase_slots and given.ask and (typed := given.ask([slot.name for slot in passphrase_slots])) is not None:
        for slot in passphrase_slots:
            asked = Given(directory=given.directory, environ={}, passphrases={slot.name: typed})
            try:
                return _unseal(slot, asked, store_id, refusals)
            except SlotError as error:
                refusals.append(error)
    lines = "".join(f"\n  - {error}" for error in refusals) or " It has none."
    raise SlotError(f"no unseal slot opens the root key.{lines}")


def _unseal(slot: Slot, given: Given, store_id: bytes, refusals: Sequence[SlotError]) -> Unsealed:
    with slot_key(slot, given) as key:
        try:
            root = open_root(
                key.material,
                slot.sealed,
                store_id=store_id,
                slot_id=slot.slot_id,
                kind=slot.kind,
                parameters=encode_source(slot.source),
                root_version=slot.root_version,
            )
        except IntegrityError as error:
            raise SlotError(f"{slot.shown} was damaged or edited ({error}): restore kms.db from a backup") from error
    # One passphrase is tried on every slot of its kind: that it opens one of them says nothing against it.
    expected = (SlotKeyMissing, _PassphraseWrong) if slot.kind == "passphrase" else SlotKeyMissing
    warnings = tuple(str(error) for error in refusals if not isinstance(error, expected))
    return Unsealed(slot=slot, root=SecretKey(root), warnings=warnings)
