"""A key that is held once, shown nowhere, and wiped when its holder is done with it.

CPython may have copied it on its way here (a header's text, base64's output, what a message opened to), and immutable
bytes can't be wiped: their memory is only freed, and overwritten when it is used again. From here on there is one copy.
"""

from hmac import compare_digest
from types import TracebackType
from typing import NoReturn, Self, SupportsIndex

from strongroom.crypto.segments import KEY_SIZE


class SecretKey:
    """32 bytes in one bytearray, without a repr. A context manager that wipes them. Cannot be pickled or copied."""

    __slots__ = ("_material", "_wiped")

    def __init__(self, material: bytes | bytearray) -> None:
        """Takes over a bytearray (the caller's is the one that is wiped), copies bytes. Raises ValueError for a length
        other than 32.
        """
        if len(material) != KEY_SIZE:
            raise ValueError(f"a key has {KEY_SIZE} bytes")
        self._material = material if isinstance(material, bytearray) else bytearray(material)
        self._wiped = False

    @property
    def material(self) -> bytearray:
        """The key itself, to be handed to a derivation and not kept.

        Raises ValueError once wiped: nothing may ever be sealed under a zero key.
        """
        if self._wiped:
            raise ValueError("the key has been wiped")
        return self._material

    def same_as(self, other: "SecretKey") -> bool:
        """In constant time; there is no `==`, which would not be."""
        return compare_digest(self.material, other.material)

    def zero(self) -> None:
        self._wiped = True
        self._material[:] = bytes(len(self._material))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.zero()

    def __del__(self) -> None:
        """A key that an error left unused is wiped all the same."""
        if hasattr(self, "_material"):  # not where its length was refused
            self.zero()

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError("a key cannot be pickled or copied")
