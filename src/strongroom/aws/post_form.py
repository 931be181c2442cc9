"""The form of a browser upload (POST Object) as a stream: fields first, then the bytes of one file.

Strategy: sans-I/O (`feed`, `finish`), the multipart grammar by python-multipart. The fields are complete as soon as
`file_started`; from then on `feed` returns the file's bytes, and whatever comes after the file is read and ignored.

Rules: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html and RFC 7578; texts and codes are the wire's.
This module knows the meaning of two names only: `file`, and the variable ${filename}.
"""

import re
from typing import NoReturn

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from strongroom.aws.errors import S3Error

MAX_FIELDS = 200
MAX_FIELD_BYTES = 20 * 1024  # names and values of all fields before the file

SIGNATURE_FIELDS = frozenset({"policy", "x-amz-signature"})  # used as sent, ${filename} or not


class FormReader:
    """Reads one multipart/form-data body. `fields`: by lower-case name, repeated ones joined by ","."""

    def __init__(self, content_type: str) -> None:
        """Raises S3Error if `content_type` is not multipart/form-data with a boundary."""
        media_type, options = parse_options_header(content_type)
        if media_type != b"multipart/form-data":
            raise S3Error(
                "PreconditionFailed", Condition="Bucket POST must be of the enclosure-type multipart/form-data"
            )
        boundary = options.get(b"boundary")
        if not boundary:
            _malformed()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._part_data,
                    "on_part_end": self._part_end,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            _malformed()
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.file_started = False
        self.done = False
        self._size = 0
        self._parts = 0
        self._header = (b"", b"")
        self._disposition = b""
        self._name: str | None = None  # of the part being read; None: a part that is ignored
        self._value = b""
        self._output: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        """The bytes of the file that `data` holds; b"" before `file_started`. Raises S3Error."""
        self._output = []
        try:
            self._parser.write(data)
        except FormParserError:
            _malformed()
        return b"".join(self._output)

    def finish(self) -> None:
        """The body has ended. Raises S3Error if the form has not, or had no file."""
        if not self.done:
            _malformed()
        if not self.file_started:
            _not_one_file(0)

    # --- What the parser calls

    def _part_begin(self) -> None:
        self._disposition = b""
        self._value = b""
        self._name = None

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end], b"")

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])

    def _header_end(self) -> None:
        name, value = self._header
        self._header = (b"", b"")
        if name.lower() == b"content-disposition":
            self._disposition = value

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition.decode("latin-1"))
        if kind != b"form-data" or b"name" not in options:
            _malformed()
        name = _text(options[b"name"]).lower()
        if name == "file":
            if self.file_started:
                _not_one_file(2)
            self._start_file(options.get(b"filename"))
        if not self.file_started or name == "file":
            self._name = name
            self._count(len(name), parts=1)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file":
            self._output.append(data[start:end])
        elif self._name is not None:
            self._count(end - start)
            self._value += data[start:end]

    def _part_end(self) -> None:
        if self._name not in (None, "file"):
            name, value = self._name or "", _text(self._value)
            self.fields[name] = f"{self.fields[name]},{value}" if name in self.fields else value
        self._name = None

    def _end(self) -> None:
        self.done = True

    def _start_file(self, filename: bytes | None) -> None:
        self.file_started = True
        if filename is None:
            return  # S3 then keeps the variable as it stands
        # Only the last component: some browsers send a path of the user's machine.
        self.filename = re.split(r"[/\\]", _text(filename))[-1]
        for name in self.fields.keys() - SIGNATURE_FIELDS:
            self.fields[name] = self.fields[name].replace("${filename}", self.filename)

    def _count(self, size: int, *, parts: int = 0) -> None:
        self._size += size
        self._parts += parts
        if self._size > MAX_FIELD_BYTES or self._parts > MAX_FIELDS:
            raise S3Error("MaxPostPreDataLengthExceeded", MaxPostPreDataLengthBytes=str(MAX_FIELD_BYTES))


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        _malformed()


def _malformed() -> NoReturn:
    raise S3Error("MalformedPOSTRequest")


def _not_one_file(count: int) -> NoReturn:
    raise S3Error(
        "InvalidArgument",
        "POST requires exactly one file upload per request.",
        ArgumentName="file",
        ArgumentValue=str(count),
    )
