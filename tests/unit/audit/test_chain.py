"""The chain: each line is bound to its place and to all before it, byte by byte."""

import hashlib
import json
import re

import pytest

from strongroom.audit.chain import GENESIS, BadRecord, Head, chained, check_follows, parse

EVENT = b'{"eventName":"Decrypt","x":{"y":1}}'


def chain(count: int) -> list[bytes]:
    head, made = GENESIS, []
    for number in range(count):
        line, head = chained(head, b'{"n":%d}' % number, 7)
        made.append(line)
    return made


def test_a_line_is_json_and_its_hash_can_be_computed_by_anybody():
    """As docs/operations/audit.md describes it, without any of our code."""
    first, head = chained(GENESIS, EVENT, 3)
    second, _ = chained(head, b"{}", 2**40)
    previous = bytes(0).hex().rjust(64, "0")
    for sequence, (line, event, revision) in enumerate(((first, EVENT, 3), (second, b"{}", 2**40)), start=1):
        read = json.loads(line)
        assert list(read) == ["sequence", "previousHash", "hash", "stateRevision", "event"]
        assert (read["sequence"], read["previousHash"], read["stateRevision"]) == (sequence, previous, revision)
        label = b"strongroom/1/audit/record"
        fields = (sequence.to_bytes(8, "big"), bytes.fromhex(previous), revision.to_bytes(8, "big"), event)
        bound = bytes([len(label)]) + label + bytes([len(fields)])
        bound += b"".join(len(each).to_bytes(4, "big") + each for each in fields)
        assert read["hash"] == hashlib.sha256(bound).hexdigest()
        previous = read["hash"]


def test_a_line_read_is_the_line_written():
    line, head = chained(Head(41, b"\x05" * 32, 9), EVENT, 10)
    record = parse(line)
    assert record.head == head == Head(42, record.hash, 10)
    assert (record.previous_hash, record.event) == (b"\x05" * 32, EVENT)
    check_follows(record, Head(41, b"\x05" * 32, 9))


def test_no_byte_of_a_line_can_change():
    line, _ = chained(GENESIS, EVENT, 3)
    for at in range(len(line)):
        for changed in (line[:at] + line[at + 1 :], line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]):
            with pytest.raises(BadRecord):
                parse(changed)
        with pytest.raises(BadRecord):
            parse(line[:at] + b" " + line[at:])


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"{}\n", b"\0" * 100, b"not json\n", b'{"sequence":1}\n', chain(1)[0][:-1], chain(1)[0] * 2]
)
def test_what_is_no_line_is_refused(line):
    with pytest.raises(BadRecord, match="the line is not a record"):
        parse(line)


@pytest.mark.parametrize(
    ("after", "sequence", "problem"),
    [
        (1, 3, "record 2 is missing: record 3 comes instead"),
        (1, 5, "records 2 to 4 are missing: record 5 comes instead"),
        (3, 3, "record 3 stands where record 4 belongs"),
        (4, 2, "record 2 stands where record 5 belongs"),
    ],
)
def test_a_record_out_of_place_says_what_is_missing(after, sequence, problem):
    made = [parse(line) for line in chain(5)]
    with pytest.raises(BadRecord, match=re.escape(problem)):
        check_follows(made[sequence - 1], made[after - 1].head)


def test_a_record_of_another_chain_does_not_follow():
    other, head = chained(GENESIS, b'{"n":100}', 7)
    with pytest.raises(BadRecord, match="record 2 was written after another record 1"):
        check_follows(parse(chain(2)[1]), head)
    check_follows(parse(chained(parse(other).head, b"{}", 0)[0]), head)
