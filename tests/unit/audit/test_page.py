"""docs/operations/audit.md: the program on the page checks a log, and finds what is wrong with one."""

import re
import subprocess
import sys
from pathlib import Path

from strongroom.audit.writer import MAX_FILE_BYTES, RESERVE_BYTES
from tests.audited import log_files, make_log, records

PAGE = (Path(__file__).parents[3] / "docs" / "operations" / "audit.md").read_text()


def test_the_program_on_the_page_checks_the_chain(tmp_path):
    make_log(tmp_path, 8, max_file_bytes=3000)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    command = [sys.executable, "-c", program, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"8 records, the last one {records(tmp_path)[-1].hash.hex()}\n"
    path = log_files(tmp_path)[1]
    path.write_bytes(path.read_bytes().replace(b"alice", b"bobby", 1))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == f"record {int(path.stem.split('-')[2])} is bad or missing\n"


def test_the_page_names_the_sizes_that_are_used():
    assert f"after {MAX_FILE_BYTES >> 20} MiB" in PAGE
    assert f"{RESERVE_BYTES >> 20} MiB of disk" in PAGE
