"""The root key at work: seals and opens materials and records, and derives keys, for those who never see it.

Of a root key there are two versions while `rotate-root` runs, else one. A version is held as one bytearray and the two
keys derived from it that are needed all the time; they are wiped when the version is forgotten. What CPython and the
library copy on the way (HKDF's output, the key inside a `RowSealer` and its ciphers, a material while it is in use) are
immutable bytes and C memory that nobody can wipe from here: they are freed, and overwritten when used again. So the key
service is a process of its own, whose memory is closed to others and never dumped.

This module knows neither slots nor database.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, SupportsIndex

from strongroom.aws.kms_errors import KmsError
from strongroom.crypto import kms_sealing
from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.kms_sealing import MaterialPlace, RecordPlace, raw_key_id
from strongroom.crypto.rows import RowSealer
from strongroom.crypto.sealing import derive, fingerprint
from strongroom.crypto.secret_key import SecretKey
from strongroom.kms.records import Key, Material

if TYPE_CHECKING:
    from strongroom.kms.call import Root


class RootVersion:
    """One version of the root key. Cannot be pickled or copied, and shows nothing."""

    __slots__ = ("key", "material_key", "records", "version")

    def __init__(self, version: int, key: SecretKey) -> None:
        """Takes `key` over."""
        self.version = version
        self.key = key
        self.material_key = SecretKey(kms_sealing.material_key(key.material))
        self.records = RowSealer(kms_sealing.record_key(key.material))

    @property
    def fingerprint(self) -> bytes:
        return fingerprint(self.key.material, "kms-root")

    def zero(self) -> None:
        self.key.zero()
        self.material_key.zero()

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError("a root key cannot be pickled or copied")


class OpenRoot:
    """`kms.call.Root`, and what the store needs of the root beside it."""

    def __init__(
        self,
        *,
        store_id: bytes,
        account_id: str,
        region: str,
        current: RootVersion,
        previous: RootVersion | None,
        now_us: Callable[[], int],
    ) -> None:
        self.store_id = store_id
        self.account_id = account_id
        self.region = region
        self.current = current
        self.previous = previous
        self.coming: RootVersion | None = None  # seals what brings it into force; nothing else knows it before
        self._now_us = now_us
        self._lasting: SecretKey | None = None

    # --- kms.call.Root

    def seal_material(self, key: Key, material_id: bytes, plaintext: bytes) -> bytes:
        return self._seal_material(self._place(key, material_id), plaintext)

    def open_material(self, key: Key, material: Material) -> bytes:
        if not material.sealed or (
            material.expires and material.valid_to_us is not None and material.valid_to_us <= self._now_us()
        ):
            arn = f"arn:aws:kms:{self.region}:{self.account_id}:key/{key.key_id}"
            raise KmsError("KMSInvalidStateException", f"{arn} is pending import.")
        return self._open_material(self._place(key, material.material_id), material.sealed)

    def derive(self, label: str, *fields: bytes) -> bytes:
        if self._lasting is None:
            raise RuntimeError("the key service is not open yet")
        return derive(self._lasting.material, label, self.store_id, *fields)

    # --- for the store

    def keep_lasting_secret(self, secret: SecretKey) -> None:
        """What `derive` derives from: random, kept as a record, and never changed."""
        self._lasting = secret

    def reseal_material(self, key: Key, material: Material) -> bytes:
        """`material.sealed` under the current version. Raises IntegrityError."""
        if not material.sealed:
            return b""
        place = self._place(key, material.material_id)
        plaintext = bytearray(self._open_material(place, material.sealed))
        try:
            return self._seal_material(place, plaintext)
        finally:
            plaintext[:] = bytes(len(plaintext))

    def seal_record(self, plaintext: bytes, place: RecordPlace) -> bytes:
        """Raises IntegrityError for a version that is not in force."""
        return kms_sealing.seal_record(
            self._version(place.root_version).records, plaintext, store_id=self.store_id, place=place
        )

    def open_record(self, sealed: bytes, place: RecordPlace) -> bytes:
        """Raises IntegrityError."""
        return kms_sealing.open_record(
            self._version(place.root_version).records, sealed, store_id=self.store_id, place=place
        )

    def replace_current(self, version: RootVersion) -> None:
        """From now on everything is sealed under `version`; the one before opens what is left of it."""
        self.previous, self.current, self.coming = self.current, version, None

    def forget_previous(self) -> None:
        if self.previous is not None:
            self.previous.zero()
            self.previous = None

    def close(self) -> None:
        for held in (self.current, self.previous, self.coming):
            if held is not None:
                held.zero()
        if self._lasting is not None:
            self._lasting.zero()

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError("a root key cannot be pickled or copied")

    # --- inside

    def _version(self, version: int) -> RootVersion:
        for held in (self.current, self.previous, self.coming):
            if held is not None and held.version == version:
                return held
        raise IntegrityError(f"sealed under version {version} of the root key, which is not in force")

    def _place(self, key: Key, material_id: bytes) -> MaterialPlace:
        return MaterialPlace(
            account=self.account_id,
            key_id=raw_key_id(key.key_id),
            material_id=material_id,
            spec=key.spec,
            usage=key.usage,
            origin=key.origin,
        )

    def _seal_material(self, place: MaterialPlace, plaintext: bytes | bytearray) -> bytes:
        return kms_sealing.seal_material(
            self.current.material_key.material,
            plaintext,
            store_id=self.store_id,
            place=place,
            root_version=self.current.version,
        )

    def _open_material(self, place: MaterialPlace, sealed: bytes) -> bytes:
        version = self._version(kms_sealing.material_root_version(sealed))
        return kms_sealing.open_material(
            version.material_key.material, sealed, store_id=self.store_id, place=place, root_version=version.version
        )


if TYPE_CHECKING:

    def _is_root(root: OpenRoot) -> Root:
        return root
