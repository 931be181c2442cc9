"""The two HTTP values that the whole program speaks: what arrived, and what leaves.

Nothing here is decoded beyond what the wire demands: the path and the query stay as the client sent (and signed) them,
header names are lower case, header values are latin-1 text, and the body is an iterator that nobody has touched yet.
This module knows no server, no ASGI and no S3.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Headers:
    """Headers in order of arrival; `pairs` holds (lower-case name, value) and may repeat a name."""

    pairs: tuple[tuple[str, str], ...] = ()
    _values: dict[str, str] = field(init=False, repr=False, compare=False)  # joined: a request asks for a dozen by name

    def __post_init__(self) -> None:
        values: dict[str, str] = {}
        for name, value in self.pairs:
            values[name] = f"{values[name]},{value}" if name in values else value
        object.__setattr__(self, "_values", values)

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> "Headers":
        return cls(tuple((name.lower(), value) for name, value in pairs))

    def get(self, name: str) -> str | None:
        """The value of `name` (given in lower case), repeated fields joined by "," (RFC 9110 5.3), or None.

        Joining means that a repeated single-valued header reads as one that nobody accepts, never as its first or last
        copy.
        """
        return self._values.get(name)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.pairs)

    def without(self, names: frozenset[str]) -> "Headers":
        return Headers(tuple(pair for pair in self.pairs if pair[0] not in names))

    def __repr__(self) -> str:
        # Values hold credentials, customer keys and signatures: only the names may appear in a log or a traceback.
        return f"Headers({', '.join(name for name, _ in self.pairs)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """`raw_path` and `raw_query` as on the wire, percent-encoding kept, without the "?" between them."""

    method: str
    raw_path: bytes
    raw_query: bytes = field(default=b"", repr=False)  # a presigned query holds a signature
    headers: Headers = Headers()
    scheme: str = "http"
    client_host: str = ""
    body: AsyncIterator[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """`body` is bytes, or an iterator whose total length is what the content-length header among `headers` says."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | AsyncIterator[bytes] = field(default=b"", repr=False)
