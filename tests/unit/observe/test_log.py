import json
import logging
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from strongroom.observe import log


@pytest.fixture
def lines(capfd):
    """Configure the log, and read what was written."""
    root = logging.getLogger()
    kept = root.handlers[:], root.level, logging.getLogger(log.NAME).level, logging.getLogger("uvicorn").level

    def written(style="text", level="info", background=False):
        log.configure(style=style, level=level, background=background)

    def read():
        log.flush()
        return capfd.readouterr().err.splitlines()

    yield SimpleNamespace(configure=written, read=read)
    root.handlers[:] = kept[0]
    root.setLevel(kept[1])
    logging.getLogger(log.NAME).setLevel(kept[2])
    logging.getLogger("uvicorn").setLevel(kept[3])


@pytest.mark.parametrize("background", [False, True])
def test_lines_for_people(lines, background) -> None:
    lines.configure(background=background)
    log.info("Answered", request_id="R1", key="a b", status=200, seconds=0.25)
    (line,) = lines.read()
    assert line.endswith('INFO Answered key="a b" status=200 seconds=0.250000 request_id=R1')
    assert line[:4].isdigit()


@pytest.mark.parametrize("background", [False, True])
def test_lines_for_machines(lines, background) -> None:
    lines.configure(style="json", background=background)
    log.info("Answered", key="ключ\n", status=200)
    (line,) = lines.read()
    told = json.loads(line)
    assert (told["level"], told["message"], told["key"], told["status"]) == ("info", "Answered", "ключ\n", 200)


@pytest.mark.parametrize("key", ["a\nERROR forged status=500", "a\x1b[31m", "a status=500", 'a"b', "a\u2028b", ""])
def test_a_key_cannot_pose_as_a_line_or_a_field(lines, key) -> None:
    lines.configure()
    log.info("Answered", key=key, status=200)
    (line,) = lines.read()
    quoted = line.partition("key=")[2].removesuffix(" status=200")
    assert quoted.startswith('"')
    assert json.loads(quoted) == key
    assert line.isascii()


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_field_that_is_not_on_the_list_is_not_written(lines, style) -> None:
    lines.configure(style=style)
    log.info("Answered", status=200, authorization="canary-secret")  # type: ignore[call-arg]
    (line,) = lines.read()
    assert "canary" not in line
    assert "authorization" not in line


def test_a_traceback_is_in_the_log(lines) -> None:
    lines.configure(style="json")
    log.failure("Failed", RuntimeError("why"), request_id="R1")
    (line,) = lines.read()
    assert "RuntimeError: why" in json.loads(line)["traceback"]


def test_levels(lines) -> None:
    lines.configure(level="warning")
    log.info("Quiet")
    log.warning("Loud")
    assert [line.rpartition(" ")[2] for line in lines.read()] == ["Loud"]


def test_uvicorn_repeats_nothing_of_a_request(lines) -> None:
    lines.configure(level="debug")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    assert lines.read() == []


def test_a_reader_that_sleeps_stops_nobody() -> None:
    """Standard error is a pipe that nobody reads: logging goes on, and so does the process's end."""
    program = (
        "from strongroom.observe import log\n"
        "log.configure(background=True)\n"
        "for number in range(20_000): log.info('x' * 100, count=number)\n"
        "log.flush()\n"
        "print('done', flush=True)\n"
        "import os; os._exit(0)\n"
    )
    reader, writer = os.pipe()
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=writer, timeout=30, check=True
    )
    assert done.stdout == b"done\n"
    assert time.monotonic() - begun < 20
    os.close(writer)
    os.close(reader)
