"""Checksums: any split of the data gives the same value; full-object values of parts are those of the whole."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws import checksums
from strongroom.aws.checksums import ALGORITHMS, Digests
from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers

pieces_of_data = st.lists(st.binary(max_size=2000), max_size=6)


def digest(name, data):
    each = checksums.hasher(name)
    each.update(data)
    return each.digest()


@given(pieces=pieces_of_data)
def test_any_split_gives_the_same_values(pieces):
    digests = Digests(ALGORITHMS, md5=True)
    for piece in pieces:
        digests.update(piece)
    assert {name: digests.value(name) for name in ALGORITHMS} == {
        name: digest(name, b"".join(pieces)) for name in ALGORITHMS
    }


@given(pieces=pieces_of_data, name=st.sampled_from(["CRC32", "CRC32C", "CRC64NVME"]))
def test_parts_combine_to_the_whole(pieces, name):
    parts = [(digest(name, piece), len(piece)) for piece in pieces]
    assert checksums.combine(name, parts) == digest(name, b"".join(pieces))


@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from([algorithm.header for algorithm in ALGORITHMS.values()])
            | st.sampled_from(["x-amz-trailer", "content-md5", "x-amz-sdk-checksum-algorithm", "x-amz-checksum-x"]),
            st.text(st.characters(max_codepoint=255), max_size=30)
            | st.sampled_from(["x-amz-checksum-crc32", "CRC32", "y/Q5Jg==", "JfnnlDI7RTiF9RgfG2JNCw=="]),
        ),
        max_size=3,
    )
)
def test_headers_raise_nothing_but_s3_errors(headers):
    with suppress(S3Error):
        promise = checksums.expected(Headers.of(headers))
        assert promise.value is None or promise.algorithm is not None
