"""`strongroom kms slot list|add|remove` and `strongroom kms rotate-root`: a client of the running key service's Unix
socket, which nobody but its own user can reach. None of them opens kms.db.

Passphrases are asked for on the terminal, twice where one is new, or read from a file; never from an argument, which
every user of the machine can see.
"""

import getpass
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.table import Table

from strongroom.cli.command import CommandError
from strongroom.cli.kms_socket import ask, checked, request
from strongroom.cli.store_command import progress, run
from strongroom.cli.tables import print_table


def slot_list(data_dir: Path, *, as_json: bool) -> int:
    def command() -> int:
        answer = request(data_dir, "GET", "/slots")
        if as_json:
            print(json.dumps(answer))
        else:
            _show(answer)
        return 0

    return run(command)


def slot_add(
    data_dir: Path,
    kind: str,
    name: str,
    *,
    path: Path | None,
    key_file: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> int:
    """`path`: of the key file to be made. `key_file`: holds the key of a slot of the environment or a credential, where
    the running service does not have it yet.
    """

    def command() -> int:
        new: dict[str, str] = {"kind": kind, "name": name}
        if path is not None:
            new["path"] = str(path.absolute())
        if key_file is not None:
            new["key"] = _text(key_file)
        if kind == "passphrase":
            new["passphrase"] = _new_passphrase(name) if passphrase_file is None else _text(passphrase_file)
        slot = request(data_dir, "POST", "/slots", new)
        print(json.dumps(slot) if as_json else f"The slot {name!r} opens the root key from the next start on.")
        if "path" in slot and not as_json:
            print(f"Its key is in {slot['path']}: copy it to a safe place now.")
        return 0

    return run(command)


def slot_remove(data_dir: Path, name: str, *, as_json: bool) -> int:
    def command() -> int:
        answer = request(data_dir, "DELETE", f"/slots/{quote(name, safe='')}")
        print(
            json.dumps(answer) if as_json else f"The slot {answer['removed']['name']!r} is removed.\n{answer['note']}"
        )
        return 0

    return run(command)


def rotate_root(data_dir: Path, *, passphrase_files: Mapping[str, Path], as_json: bool) -> int:
    """`passphrase_files`: by slot's name; whoever sits at the terminal is asked for the others."""

    def command() -> int:
        passphrases = {name: _text(path) for name, path in passphrase_files.items()}
        found = request(data_dir, "GET", "/slots")["slots"]
        wanted = [slot["name"] for slot in found if slot["kind"] == "passphrase"]
        if unknown := sorted(set(passphrases) - set(wanted)):
            raise CommandError(f"there is no passphrase slot {unknown[0]!r}: `strongroom kms slot list` shows them")
        for name in wanted:
            if name not in passphrases and sys.stdin.isatty():
                passphrases[name] = getpass.getpass(
                    f"Passphrase of slot {name!r} (empty: the service was started with it): "
                )
        given = {name: passphrase for name, passphrase in passphrases.items() if passphrase}
        with progress("Rotating the root key") as show:
            version = _rotate(data_dir, given, show)
        print(json.dumps({"rootVersion": version}) if as_json else _outcome(version))
        return 0

    return run(command)


def _outcome(version: int) -> str:
    return (
        f"The root key is of version {version}, and everything is sealed under it. Backups of kms.db made before open with"
        " the slots of their time, for ever; what is written from now on does not."
    )


def _rotate(data_dir: Path, passphrases: Mapping[str, str], show: Any) -> int:
    with ask(data_dir, "POST", "/rotate-root", {"passphrases": passphrases}) as response:
        for line in response:
            report = checked(line)
            if "rootVersion" in report:
                return int(report["rootVersion"])
            show(report["done"], report["of"])
    raise CommandError(
        "the key service ended before the rotation did: its next start finishes it, if it had begun."
        " `strongroom kms slot list` shows the version of the root key"
    )


# --- people


def _show(answer: Mapping[str, Any]) -> None:
    table = Table(
        title=f"Unseal slots of root key version {answer['rootVersion']}: any one opens it", title_justify="left"
    )
    for title in ("Name", "Kind", "Where", "Made", "Key", ""):
        table.add_column(title)
    for slot in answer["slots"]:
        argon2 = slot.get("argon2id")
        where = slot.get("path", "") if argon2 is None else f"Argon2id, {argon2['memoryKiB'] >> 10} MiB"
        opened = "opened this start" if slot["openedThisStart"] else ""
        table.add_row(slot["name"], slot["kind"], where, slot["created"], slot["fingerprint"], opened)
    print_table(table)


def _new_passphrase(name: str) -> str:
    if not sys.stdin.isatty():
        raise CommandError("a passphrase is asked for on a terminal: use --passphrase-file here")
    first = getpass.getpass(f"New passphrase of slot {name!r}: ")
    if getpass.getpass("Once more: ") != first:
        raise CommandError("the two passphrases differ: nothing was changed")
    return first


def _text(path: Path) -> str:
    """A passphrase or key in a file, without the end of its line."""
    try:
        return path.read_text("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not UTF-8 text") from None
