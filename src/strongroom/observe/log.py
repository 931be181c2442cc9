"""The log: one line an event, on standard error, for people or as JSON.

Fields are an allow-list, so that no value gets into a log because somebody passed it along: neither a header, nor a
query, nor anything that holds a key or a signature has a name here. The line is written by a thread of its own where a
server runs, because a reader of standard error that falls asleep must not stop the requests; lines that find no room
are counted and dropped.
"""

import json
import logging
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Mapping
from typing import Literal, TextIO, TypedDict, Unpack

NAME = "strongroom"
_ROOM = 10_000  # lines
_FLUSH_SECONDS = 1.0
_MOST_AT_ONCE = 256  # lines in one write


class Fields(TypedDict, total=False):
    """All that a line can say beside its message, in the order in which it says it. `seconds` are durations;
    `bytes_in` and `bytes_out` bodies on the wire.
    """

    operation: str
    method: str
    bucket: str
    key: str
    version_id: str
    part_number: int
    status: int
    code: str
    reason: str
    setting: str
    path: str
    count: int
    process: str
    worker: int
    pid: int
    seconds: float
    bytes_in: int
    bytes_out: int
    access_key_id: str
    source_ip: str
    request_id: str
    host_id: str


_ALLOWED = tuple(Fields.__annotations__)
_PLAIN = re.compile(r"[!#-<>-~]+")  # printable ASCII but space, quote and equals sign
_ATTRIBUTE = "strongroom_fields"
_logger = logging.getLogger(NAME)


def is_written(level: int) -> bool:
    """Whether a line of this level goes anywhere: for who would have to put its fields together."""
    return _logger.isEnabledFor(level)


def write(level: int, message: str, *, error: BaseException | None = None, **fields: Unpack[Fields]) -> None:
    """Log `message` (a constant text: what varies is a field) with a traceback of `error`."""
    if _logger.isEnabledFor(level):
        _logger.log(level, message, exc_info=error, extra={_ATTRIBUTE: fields})


def info(message: str, **fields: Unpack[Fields]) -> None:
    write(logging.INFO, message, **fields)


def warning(message: str, **fields: Unpack[Fields]) -> None:
    write(logging.WARNING, message, **fields)


def failure(message: str, error: BaseException | None = None, **fields: Unpack[Fields]) -> None:
    write(logging.ERROR, message, error=error, **fields)


def configure(*, style: Literal["text", "json"] = "text", level: str = "info", background: bool = False) -> None:
    """Send this process's log to standard error. Call it once before forking, and with `background` again in each
    worker.
    """
    handler: logging.Handler = _BackgroundHandler(sys.stderr) if background else logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    _logger.setLevel(level.upper())
    # What clients send is our line to write, with our fields; uvicorn's own lines repeat parts of requests.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


def flush() -> None:
    """Write what waits, for a process that is about to end without Python's own clean-up."""
    for handler in logging.getLogger().handlers:
        handler.close()


def fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    """The allowed fields of a record, in the order of `Fields`."""
    given = getattr(record, _ATTRIBUTE, {})
    return {name: given[name] for name in _ALLOWED if name in given}


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        words = (f"{name}={_plain(value)}" for name, value in fields_of(record).items())
        return " ".join((super().formatMessage(record), *words))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _plain(value: object) -> str:
    """A value that can't end the line or pose as another field: keys of objects are the client's to choose."""
    if isinstance(value, float):
        return f"{value:.6f}"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


class _BackgroundHandler(logging.Handler):
    """Formats at once, writes in a daemon thread that starts with the first line."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._dropped = 0
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread.start()
        if self._lines.qsize() < _ROOM:
            self._lines.put(self.format(record))
        else:
            self._dropped += 1

    def close(self) -> None:
        """Write what waits, but wait for no reader longer than a moment."""
        if self._thread is not None:
            if self._lines.qsize() >= _ROOM:
                return
            self._lines.put(None)
            self._thread.join(_FLUSH_SECONDS)
            self._thread = None
        super().close()

    def _run(self) -> None:
        descriptor = self._stream.fileno()
        ended = False
        while not ended:
            lines, ended = self._waiting()
            count = len(lines)
            if dropped := self._dropped:
                self._dropped -= dropped
                lines.append(f"({dropped} lines were dropped: nobody read them)")
            try:
                _write_all(descriptor, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
            except OSError:  # the terminal or the pipe is gone; the server is not
                self._dropped += count

    def _waiting(self) -> tuple[list[str], bool]:
        """What has queued up, at least one line, and whether nothing will come any more. Every write gives the
        interpreter away to the requests and has to get it back, so one a line would be slower than they are.
        """
        line = self._lines.get()
        lines: list[str] = []
        while line is not None:
            lines.append(line)
            if len(lines) == _MOST_AT_ONCE:
                return lines, False
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                return lines, False
        return lines, True


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
