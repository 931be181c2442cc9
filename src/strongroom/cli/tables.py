"""Tables as the commands print them: as wide as the terminal, or as wide as it takes where nobody looks."""

import sys

from rich.console import Console
from rich.table import Table

_PIPE_WIDTH = 240


def print_table(table: Table) -> None:
    """What stands in a cell is text, whoever chose it. All of it shows, on several lines where one is too narrow: an id of
    which the end is missing names nothing.
    """
    for column in table.columns:
        column.overflow = "fold"
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, markup=False, highlight=False).print(table)
