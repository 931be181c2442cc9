"""`strongroom kms accept-restore`: the audited way through where a key service refuses to start on an older copy."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

from strongroom import config
from strongroom.cli.command import CommandError
from strongroom.cli.passphrases import asker
from strongroom.cli.store_command import run
from strongroom.server.kms import AcceptedRestore
from strongroom.server.kms import accept_restore as accept


def accept_restore(data_dir: Path, config_file: Path | None, *, as_json: bool) -> int:
    def command() -> int:
        if not (data_dir / "kms" / "kms.db").exists():
            raise CommandError(f"there is no key service in {data_dir}")
        settings = config.load(data_dir, config_file)
        accepted = asyncio.run(accept(settings, data_dir, ask_passphrase=asker()))
        if as_json:
            print(json.dumps(None if accepted is None else asdict(accepted)))
        else:
            _tell(accepted)
        return 0

    return run(command)


def _tell(accepted: AcceptedRestore | None) -> None:
    if accepted is None:
        print("There is nothing to accept: the key service starts as it is.")
        return
    print(f"Accepted, and recorded: {accepted.found}")
    if accepted.disabled:
        print(
            "Disabled, because they were changed since this copy (`strongroom key enable`, once you have looked at them):"
        )
        print("".join(f"  {key_id}\n" for key_id in accepted.disabled), end="")
    if accepted.lost:
        print("Not in this copy, and lost with all that they seal:")
        print("".join(f"  {key_id}\n" for key_id in accepted.lost), end="")
