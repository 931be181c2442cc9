"""Tables on a terminal that is too narrow for them."""

import os
import pty
import subprocess
import sys
from contextlib import suppress

KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
PROGRAM = f"""
from rich.table import Table
from strongroom.cli.tables import print_table
table = Table("key", "alias")
table.add_row({KEY_ID!r}, "alias/" + "long" * 8)
print_table(table)
"""


def on_terminal(columns: int) -> list[str]:
    """What a terminal shows of the table, line by line."""
    terminal, output = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    with open(terminal, "rb", buffering=0) as reader:
        subprocess.run([sys.executable, "-c", PROGRAM], stdout=output, env=environment, timeout=30, check=True)
        os.close(output)
        told = b""
        with suppress(OSError):  # EIO: nobody has the other end any more
            while read := reader.read(4096):
                told += read
    return told.decode().splitlines()


def test_nothing_of_a_cell_is_left_out_where_it_is_narrow() -> None:
    rows = [line for line in on_terminal(40) if line.startswith("\N{BOX DRAWINGS LIGHT VERTICAL}")]
    assert len(rows) > 1
    assert {len(row) for row in rows} == {40}
    cells = [[cell.strip() for cell in row.split("\N{BOX DRAWINGS LIGHT VERTICAL}")[1:-1]] for row in rows]
    assert ["".join(parts) for parts in zip(*cells, strict=True)] == [KEY_ID, "alias/" + "long" * 8]
