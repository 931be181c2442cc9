"""`strongroom gc`: one round of s3/cleanup.py now, which the server goes through by itself once a day."""

import json
from dataclasses import asdict
from pathlib import Path

from strongroom.cli.store_command import on_store, run
from strongroom.s3.cleanup import Collected, collect
from strongroom.server.store import OpenStore


def gc(data_dir: Path, config_file: Path | None, *, older_than: float, as_json: bool) -> int:
    """`older_than`: seconds that a blob without a row is let alone, for a commit that may be under way."""

    async def work(store: OpenStore) -> int:
        collected = await collect(store.storage, store.blobs.remove_abandoned, age=older_than)
        print(json.dumps(asdict(collected)) if as_json else _sentence(collected))
        return 0

    return run(lambda: on_store(data_dir, config_file, work))


def _sentence(collected: Collected) -> str:
    return (
        f"{collected.temporary:,} files of writers that died were removed."
        f" {collected.orphans:,} blobs without an object ({collected.orphan_bytes:,} bytes) were queued for deletion."
        f" {collected.deleted:,} blobs were deleted; {collected.waiting:,} wait for the end of their grace or of a backup."
    )
