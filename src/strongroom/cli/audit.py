"""`strongroom audit`: what audit/verify.py and audit/show.py find, as text for people and as JSON for programs.

These commands read DIR/audit and nothing else. They work beside a running server, and on a copy of that directory. They
hold no secret, and load nothing of the store's.
"""

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from strongroom.audit import files, show
from strongroom.audit.checkpoint import BadNote, Verifier
from strongroom.audit.verify import Problem, Report
from strongroom.audit.verify import verify as check
from strongroom.cli.command import CommandError, drop_output, told

SOUND, DAMAGED, COULD_NOT_RUN = 0, 1, 2
_HEADINGS = ("TIME", "WHO", "WHAT", "KEY", "FOR", "REQUEST", "OUTCOME")
_WIDTHS = (20, 32, 20, 36, 40, 36)


def verify(data_dir: Path, *, public_key: str | None, first: int, as_json: bool) -> int:
    """Print every problem and a summary: 0 sound, 1 damaged, 2 it could not be found out, or nothing proves it."""

    def command() -> int:
        directory = _directory(data_dir)
        verifier = _verifier(directory, public_key)
        with _progress() as shown:
            report = check(directory, verifier, first=first, progress=shown)
        (_tell_json if as_json else _tell)(report, key_is_given=public_key is not None)
        if report.problems:
            return DAMAGED
        return SOUND if report.proved is not None else COULD_NOT_RUN

    return told(command, failed=COULD_NOT_RUN)


def show_events(
    data_dir: Path,
    *,
    key: str | None,
    object: str | None,
    since: str | None,
    principal: str | None,
    errors_only: bool,
    as_json: bool,
) -> int:
    """Print the events that all of the filters let through."""

    def command() -> int:
        try:
            wanted = show.Wanted(
                key=key,
                object=_object(object) if object is not None else None,
                since=show.parse_since(since, datetime.now(UTC)) if since is not None else None,
                principal=principal,
                errors_only=errors_only,
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
        try:
            return _print_events(_directory(data_dir), wanted, as_json=as_json)
        except BrokenPipeError:
            drop_output()
            return 0

    return told(command, failed=1)


def public_key(data_dir: Path) -> int:
    """Print the key that verifies the log's checkpoints."""

    def command() -> int:
        print(_verifier(_directory(data_dir), None).text)
        return 0

    return told(command, failed=1)


def _progress() -> AbstractContextManager[Callable[[int, int], None]]:
    """A bar where somebody looks."""
    if not sys.stderr.isatty():
        return nullcontext(lambda _done, _total: None)
    from strongroom.cli.store_command import progress  # noqa: PLC0415 - it loads half a store

    return progress("Verifying", of_bytes=True)


def _directory(data_dir: Path) -> Path:
    directory = data_dir / files.DIRECTORY
    if not directory.is_dir():
        raise CommandError(f"there is no audit log in {directory}")
    return directory


def _verifier(directory: Path, given: str | None) -> Verifier:
    text = given.strip() if given is not None else files.read_public_key(directory)
    if text is None:
        raise CommandError(f"{directory / files.PUBLIC_KEY} is missing: give the key with --public-key")
    try:
        return Verifier(text)
    except BadNote as error:
        raise CommandError(str(error)) from None


def _object(text: str) -> tuple[str, str]:
    bucket, slash, key = text.removeprefix("s3://").removeprefix("arn:aws:s3:::").partition("/")
    if not slash or not bucket or not key:
        raise ValueError(f"{text!r} is not of the form BUCKET/KEY")
    return bucket, key


def _print_events(directory: Path, wanted: show.Wanted, *, as_json: bool) -> int:
    if not as_json:
        print(_row(_HEADINGS))
    for found in show.events(directory, wanted):
        if isinstance(found, show.Unreadable):
            print(f"strongroom: {found.file}, line {found.line}: {found.reason}", file=sys.stderr)
        elif as_json:
            matched = {"match": found.match} if found.match is not None else {}
            print(json.dumps({"sequence": found.record.sequence, **matched, "event": found.event}))
        else:
            print(_row(_cells(found)))
    sys.stdout.flush()
    return 0


def _cells(found: show.Shown) -> tuple[str, ...]:
    event = found.event
    data = ", ".join(arn.removeprefix("arn:aws:s3:::") for arn in show.data_of(event))
    return (
        str(event.get("eventTime", "-")),
        show.principal_of(event),
        str(event.get("eventName", "-")),
        ", ".join(arn.rpartition(":key/")[2] for arn in show.keys_of(event)) or "-",
        f"{data} (bucket key)" if found.match == "bucket" else data or "-",
        str(event.get("requestID", "-")),
        str(event.get("errorCode", "ok")),
    )


def _row(cells: tuple[str, ...]) -> str:
    """Cells are padded and never cut; what a terminal would obey is shown as an escape."""
    texts = [text if text.isprintable() else json.dumps(text)[1:-1] for text in cells]
    padded = [text.ljust(width) for text, width in zip(texts, _WIDTHS, strict=False)]
    return "  ".join([*padded, *texts[len(_WIDTHS) :]])


def _tell_json(report: Report, *, key_is_given: bool) -> None:
    """One JSON value a line: any number of problems, then the summary."""
    for problem in report.problems:
        told = {name: value for name, value in asdict(problem).items() if value not in (None, "")}
        print(json.dumps({"type": "damage"} | told))
    summary: dict[str, Any] = {
        "first": report.first,
        "last": report.last,
        "proved": report.proved.sequence if report.proved is not None else 0,
        "proved_at": report.proved.time if report.proved is not None else None,
        "unproved": report.unproved,
        "checkpoints": report.checkpoints,
        "unfinished_bytes": report.unfinished_bytes,
        "key_given": key_is_given,
        "damages": len(report.problems),
    }
    print(json.dumps({"type": "summary"} | summary))


def _tell(report: Report, *, key_is_given: bool) -> None:
    for problem in report.problems:
        print(f"damage: {_place(problem)}{problem.reason}")
    verdict = "Damaged" if report.problems else "Sound" if report.proved is not None else "Not proved"
    complete = f"Records {report.first:,} to {report.last:,} are complete." if report.last else "There is no record."
    print(f"{verdict}. {complete}{_proof(report)}")
    if report.unfinished_bytes:
        print(
            f"The {report.unfinished_bytes:,} bytes at the end are a record being written, or what a crash has left of one."
        )
    if not key_is_given:
        print("The key was taken from beside the log: give the one that you keep elsewhere with --public-key.")


def _proof(report: Report) -> str:
    if report.proved is None:
        return " No checkpoint proves any of them." if report.last else ""
    after = f"; {report.unproved:,} after it are chained only" if report.unproved else ""
    return f" Proved up to record {report.proved.sequence:,} by the checkpoint of {report.proved.time}{after}."


def _place(problem: Problem) -> str:
    words = [f"record {problem.sequence}"] if problem.sequence is not None else []
    words += [problem.file] if problem.file else []
    words += [f"line {problem.line}"] if problem.line is not None else []
    return ", ".join(words) + ": "
