"""Options that every command spells and explains in the same way."""

from pathlib import Path
from typing import Annotated

import typer


def _directory(given: str) -> Path:
    """Raises BadParameter for "", which would be the current directory; an unset variable is no choice of that one."""
    if not given:
        raise typer.BadParameter("it is empty: is a variable unset? `.` is the current directory")
    return Path(given)


DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        envvar="STRONGROOM_DATA_DIR",
        parser=_directory,
        help="The directory that holds the store.",
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings (TOML); default DIR/strongroom.toml.")
]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]
