"""The aws-chunked coding: bytes of a body in, bytes of the object out, each signature and length checked on the way.

Strategy: a sans-I/O decoder in h11's form (`feed`, `finish`). Inside, one generator reads the grammar from top to
bottom and yields whenever it has used up its input, so that the code has the shape of the coding:

    chunk    = size-in-hex [";chunk-signature=" hex] CRLF data CRLF       repeated
    last     = "0" [";chunk-signature=" hex] CRLF
    trailers = *(name ":" value CRLF) ["x-amz-trailer-signature:" hex CRLF]
    end      = CRLF

Signed bytes leave only after the signature of their chunk has been verified; unsigned ones pass straight through.
Rules: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and sigv4-streaming-trailers.html. This
module knows neither what a trailer means nor the transfer coding below it.
"""

import hashlib
import re
from collections.abc import Generator
from typing import NoReturn

from strongroom.aws.errors import S3Error
from strongroom.aws.sigv4 import SigningKey, signatures_equal

MIN_CHUNK = 8 * 1024  # bytes; only the last chunk with data may be smaller
MAX_SIGNED_CHUNK = 16 * 1024 * 1024  # bytes; a signed chunk waits in memory for its signature
MAX_LINE = 1024  # bytes, CRLF included; the longest real line is a SHA-512 trailer of 112

TRAILER_SIGNATURE = "x-amz-trailer-signature"
_EMPTY_SHA256 = hashlib.sha256().hexdigest()
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
_SIGNATURE_EXTENSION = b"chunk-signature="
_TRAILER = re.compile(rb"([A-Za-z0-9-]+):([ -~]*)")

_Step = Generator[None, None, None]


class ChunkedDecoder:
    """Decodes one body. Any S3Error is final: the decoder refuses whatever comes after it."""

    def __init__(
        self,
        *,
        signing: SigningKey | None,
        signed: bool,
        trailer_names: frozenset[str],
        trailer_signed: bool,
        decoded_length: int,
    ) -> None:
        """`signing`: needed if `signed`; `trailer_names`: announced by x-amz-trailer, in lower case; `decoded_length`:
        bytes, as x-amz-decoded-content-length says; `trailer_signed`: the payload form is the signed one with trailer.
        """
        assert signing is not None or not signed
        self._signing = signing if signed else None
        self._trailer_names = trailer_names
        self._trailer_signed = trailer_signed
        self._left = decoded_length
        self._signature = signing.seed_signature if signing is not None else ""
        self._input = b""
        self._position = 0
        self._output: list[bytes | memoryview] = []
        self._done = False
        self._decoding = self._decode()
        self.trailers: dict[str, str] = {}

    def feed(self, data: bytes) -> bytes:
        """The object's bytes that `data` completes.

        Raises S3Error: SignatureDoesNotMatch, IncompleteBody, InvalidChunkSizeError, MalformedTrailerError.
        """
        self._input, self._position, self._output = data, 0, []
        try:
            next(self._decoding)
        except StopIteration:  # after an error, or with more bytes than the coding has
            _incomplete()
        return b"".join(self._output)

    def finish(self) -> None:
        """The body has ended. Raises S3Error (IncompleteBody) if the coding has not."""
        if not self._done:
            self._decoding.close()
            _incomplete()

    # --- The grammar

    def _decode(self) -> _Step:
        number, size = 0, MIN_CHUNK
        while True:
            previous, number = size, number + 1
            size, signature = self._parse_chunk_line((yield from self._line()))
            if size and previous < MIN_CHUNK:
                raise S3Error("InvalidChunkSizeError", Chunk=str(number - 1), BadChunkSize=str(previous))
            if size == 0:
                break
            yield from self._data(size, signature)
            if (yield from self._line()):
                _incomplete()
        self._verify_chunk(_EMPTY_SHA256, signature)
        if self._left:
            _incomplete()
        yield from self._trailers()
        self._done = True
        yield from self._more()

    def _parse_chunk_line(self, line: bytes) -> tuple[int, str]:
        size_text, separator, extension = line.partition(b";")
        if not _SIZE.fullmatch(size_text):
            _incomplete()
        size = int(size_text, 16)
        # Checked before the data is read: no client makes us hold or store more than it announced.
        if size > self._left or (self._signing is not None and size > MAX_SIGNED_CHUNK):
            _incomplete()
        if self._signing is None:
            if separator:
                _incomplete()
            return size, ""
        if not extension.startswith(_SIGNATURE_EXTENSION):
            raise S3Error("SignatureDoesNotMatch")
        return size, extension.removeprefix(_SIGNATURE_EXTENSION).decode("latin-1")

    def _data(self, size: int, signature: str) -> _Step:
        self._left -= size
        digest = hashlib.sha256() if self._signing is not None else None
        held = bytearray()
        while size:
            yield from self._more()
            piece = memoryview(self._input)[self._position : self._position + size]
            self._position += len(piece)
            size -= len(piece)
            if digest is None:
                self._output.append(piece)
                continue
            digest.update(piece)
            if size or held:
                held += piece
            if not size:
                self._verify_chunk(digest.hexdigest(), signature)
                self._output.append(bytes(held) if held else piece)

    def _trailers(self) -> _Step:
        provided: str | None = None
        canonical = ""
        while line := (yield from self._line()):
            name, value = _parse_trailer(line)
            if provided is not None:
                raise S3Error("MalformedTrailerError")
            if self._trailer_signed and name == TRAILER_SIGNATURE:
                provided = value
            elif name in self._trailer_names and name not in self.trailers:
                self.trailers[name] = value
                canonical += f"{name}:{value}\n"
            else:
                raise S3Error("MalformedTrailerError")
        if self.trailers.keys() != self._trailer_names:
            raise S3Error("MalformedTrailerError")
        if self._trailer_signed:
            self._verify_trailers(canonical, provided)

    def _more(self) -> _Step:
        while self._position >= len(self._input):
            yield

    def _line(self) -> Generator[None, None, bytes]:
        """One line without its CRLF."""
        line = b""
        while True:
            yield from self._more()
            part = self._input[self._position : self._position + MAX_LINE - len(line)]
            end = (line + part).find(b"\r\n")
            if end >= 0:
                self._position += end + 2 - len(line)
                return (line + part)[:end]
            line += part
            self._position += len(part)
            if len(line) >= MAX_LINE:
                _incomplete()

    # --- Signatures

    def _verify_chunk(self, sha256: str, provided: str) -> None:
        if self._signing is not None:
            self._verify(self._signing, "AWS4-HMAC-SHA256-PAYLOAD", f"{_EMPTY_SHA256}\n{sha256}", provided)

    def _verify_trailers(self, canonical: str, provided: str | None) -> None:
        if self._signing is None or provided is None:
            raise S3Error("SignatureDoesNotMatch")
        sha256 = hashlib.sha256(canonical.encode("ascii")).hexdigest()
        self._verify(self._signing, "AWS4-HMAC-SHA256-TRAILER", sha256, provided)

    def _verify(self, signing: SigningKey, kind: str, content: str, provided: str) -> None:
        # The chain: each signature covers the one before it, and so the order of the chunks and the request itself.
        string_to_sign = f"{kind}\n{signing.timestamp}\n{signing.scope}\n{self._signature}\n{content}"
        calculated = signing.sign(string_to_sign)
        if not signatures_equal(calculated, provided):
            raise S3Error("SignatureDoesNotMatch", AWSAccessKeyId=signing.access_key_id, StringToSign=string_to_sign)
        self._signature = calculated


def _parse_trailer(line: bytes) -> tuple[str, str]:
    # minio-go ends a signed trailer with LF CRLF; the canonical form has one LF either way.
    match = _TRAILER.fullmatch(line.removesuffix(b"\n"))
    if match is None:
        raise S3Error("MalformedTrailerError")
    return match[1].decode("ascii").lower(), match[2].decode("ascii").strip()


def _incomplete() -> NoReturn:
    raise S3Error("IncompleteBody", "The request body terminated unexpectedly")
