"""Properties: any edit of a proved log is found, at the edited record or before it; and both JSON encoders agree."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from strongroom.audit.event import encode
from tests.audited import log_files, make_log, verified

COUNT = 10


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> dict[str, bytes]:
    """A log of ten records in several files, proved to its end: names and contents."""
    directory = tmp_path_factory.mktemp("sound")
    make_log(directory, COUNT, checkpoint_at=[4], max_file_bytes=2500)
    assert len(log_files(directory)) > 2
    assert verified(directory).problems == []
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def record_at(files: dict[str, bytes], name: str, offset: int) -> int:
    """The record that the byte at `offset` belongs to."""
    return int(Path(name).stem.split("-")[2]) + files[name][:offset].count(b"\n")


edits = st.tuples(
    st.sampled_from(["replace", "delete", "insert", "duplicate", "move"]),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.binary(min_size=1, max_size=40) | st.sampled_from([b"\n", b" ", b"\0", b"}", b"{}\n"]),
)


def edited(content: bytes, kind: str, at: int, length: int, to: int, new: bytes) -> bytes:
    at %= len(content)
    stop = min(len(content), at + 1 + length % 200)
    match kind:
        case "replace":
            return content[:at] + new + content[at + len(new) :]
        case "delete":
            return content[:at] + content[stop:]
        case "insert":
            return content[:at] + new + content[at:]
        case "duplicate":
            return content[:stop] + content[at:]
        case _:
            rest = content[:at] + content[stop:]
            to %= len(rest) + 1
            return rest[:to] + content[at:stop] + rest[to:]


@settings(deadline=None, max_examples=150)
@given(st.data(), edits)
def test_any_edit_of_a_file_is_found_at_or_before_the_edited_record(sound, data, edit) -> None:
    name = data.draw(st.sampled_from(sorted(name for name in sound if name.startswith("kms-"))))
    changed = edited(sound[name], *edit)
    assume(changed != sound[name])
    same = next((n for n, (a, b) in enumerate(zip(changed, sound[name], strict=False)) if a != b), None)
    at = min(len(changed), len(sound[name])) if same is None else same
    touched = record_at(sound, name, at)
    with tempfile.TemporaryDirectory() as directory:
        for other, content in sound.items():
            Path(directory, other).write_bytes(changed if other == name else content)
        report = verified(Path(directory))
    if touched > COUNT and not report.problems:  # bytes after the last line end are a record being written
        assert (report.last, report.unfinished_bytes) == (COUNT, len(changed) - len(sound[name]))
    else:
        assert report.problems[0].sequence is not None
        assert report.problems[0].sequence <= touched


@settings(deadline=None, max_examples=150)
@given(edits)
def test_no_edit_of_the_checkpoints_proves_more_or_breaks_the_reader(sound, edit) -> None:
    changed = edited(sound["checkpoints"], *edit)
    assume(changed != sound["checkpoints"])
    with tempfile.TemporaryDirectory() as directory:
        for name, content in sound.items():
            Path(directory, name).write_bytes(changed if name == "checkpoints" else content)
        report = verified(Path(directory))
    assert report.last == COUNT
    assert all(problem.sequence is None for problem in report.problems)
    assert (report.proved.sequence if report.proved else 0) in {0, 4, COUNT}


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_set_of_missing_files_is_found(sound, data) -> None:
    names = sorted(name for name in sound if name.startswith("kms-"))
    missing = data.draw(st.sets(st.sampled_from(names), min_size=1))
    with tempfile.TemporaryDirectory() as directory:
        for name, content in sound.items():
            if name not in missing:
                Path(directory, name).write_bytes(content)
        problem = verified(Path(directory)).problems[0]
    assert problem.sequence == min(int(Path(name).stem.split("-")[2]) for name in missing)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=())),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=())), below),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), values))
def test_both_encoders_give_the_same_bytes(made) -> None:
    encoded = encode(made)
    assert encoded == json.dumps(made, sort_keys=True, separators=(",", ":")).encode()
    assert json.loads(encoded) == made
