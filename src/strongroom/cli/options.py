"""Options that every command spells and explains in the same way."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path,
    typer.Option("--data-dir", metavar="DIR", envvar="STRONGROOM_DATA_DIR", help="The directory that holds the store."),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings (TOML); default DIR/strongroom.toml.")
]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]
