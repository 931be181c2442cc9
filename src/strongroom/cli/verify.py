"""`strongroom verify`: prints what s3/verification.py finds, one line for each damage, and sums up."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path

from strongroom.cli.command import CommandError
from strongroom.cli.store_command import on_store, progress, run
from strongroom.metadata.inventory import total_size
from strongroom.s3.verification import Checked, Damage, Kind
from strongroom.s3.verification import verify as findings
from strongroom.server.store import OpenStore

SOUND, DAMAGED, COULD_NOT_RUN = 0, 1, 2
_KINDS: tuple[Kind, ...] = (
    "bucket",
    "bucket key",
    "version",
    "delete marker",
    "upload",
    "blob",
    "outer blob",
    "blob without key",
)


def verify(data_dir: Path, config_file: Path | None, *, bucket: str | None, as_json: bool) -> int:
    """Print every damage as it is found: 0 there was none, 1 there was some, 2 it could not be found out."""
    tell = _tell_json if as_json else _tell

    async def work(store: OpenStore) -> int:
        return await _verify(store, bucket, tell)

    def command() -> int:
        try:
            return on_store(data_dir, config_file, work)
        except sqlite3.DatabaseError as error:  # what no waiting mends; the rest is Unavailable
            tell(Damage(problem=f"the index can't be read: {error}"))
            return DAMAGED

    return run(command, failed=COULD_NOT_RUN)


async def _verify(store: OpenStore, only: str | None, tell: Callable[[Damage | dict[str, object]], None]) -> int:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    damaged = 0
    if only is None:
        for problem in store.database.damage():
            damaged += 1
            tell(Damage(problem=f"the index as a file: {problem}"))
    elif not await store.database.read("SELECT 1 FROM buckets WHERE name = ?", (only,)):
        raise CommandError(f"there is no bucket {only!r}")
    total, done = await total_size(store.database, only=only), 0
    with progress("Verifying", of_bytes=True) as show:

        def count(size: int) -> None:
            nonlocal done
            done += size
            show(done, max(total, done))

        async with aclosing(findings(store.storage, only=only, progress=count)) as found:
            async for finding in found:
                match finding:
                    case Damage():
                        damaged += 1
                        tell(finding)
                    case Checked(kind=kind, size=size):
                        counts[kind] += 1
                        sizes[kind] += size
    summary: dict[str, object] = {f"{kind.replace(' ', '_')}s": counts[kind] for kind in _KINDS[:-1]}
    summary |= {
        "blob_bytes": sizes["blob"],
        "outer_blob_bytes": sizes["outer blob"],
        "blobs_without_key": counts["blob without key"],
        "blob_without_key_bytes": sizes["blob without key"],
        "damages": damaged,
    }
    tell(summary)
    return DAMAGED if damaged else SOUND


def _tell_json(told: Damage | dict[str, object]) -> None:
    """One JSON value a line: any number of damages, then the summary."""
    if isinstance(told, Damage):
        print(json.dumps({"type": "damage"} | {name: value for name, value in asdict(told).items() if value != ""}))
    else:
        print(json.dumps({"type": "summary"} | told))


def _tell(told: Damage | dict[str, object]) -> None:
    if isinstance(told, Damage):
        print(f"damage: {_place(told)}{told.problem}", flush=True)
        return
    verdict = f"Damaged in {told['damages']:,} places" if told["damages"] else "Sound"
    print(
        f"{verdict}. As they should be: {told['buckets']:,} buckets, {told['bucket_keys']:,} bucket keys,"
        f" {told['versions']:,} versions,"
        f" {told['delete_markers']:,} delete markers, {told['uploads']:,} uploads;"
        f" {told['blobs']:,} blobs ({told['blob_bytes']:,} bytes) authenticated,"
        f" {told['outer_blobs']:,} of DSSE-KMS ({told['outer_blob_bytes']:,} bytes) by their outer layer;"
        f" {told['blobs_without_key']:,} of SSE-C and SSE-KMS ({told['blob_without_key_bytes']:,} bytes) checked without"
        " their keys."
    )


def _place(damage: Damage) -> str:
    """Names as Python writes them: a key may hold line ends and what a terminal obeys."""
    words = [
        f"{name} {value!r}"
        for name, value in (
            ("bucket", damage.bucket),
            ("key", damage.key),
            ("version", damage.version_id),
            ("upload", damage.upload_id),
        )
        if value
    ]
    words += [f"part {damage.part}"] if damage.part is not None else []
    return ", ".join(words) + ": " if words else ""
