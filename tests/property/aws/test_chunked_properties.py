"""aws-chunked bodies: any split of the input gives the same output, and no tampering gives other bytes."""

import io
from contextlib import suppress
from typing import Any

from botocore import httpchecksum
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.checksums import ALGORITHMS, Digests, expected
from strongroom.aws.chunked import ChunkedDecoder
from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers
from strongroom.aws.sigv4 import CredentialScope, SigningKey, derive_key
from tests.aws_chunks import ACCESS_KEY_ID, SCOPE, SECRET, TIMESTAMP, signed_chunks, unsigned_chunks

BOTOCORE_CHECKSUMS: Any = vars(httpchecksum)["_CHECKSUM_CLS"]
SEED = "0f" * 32
KEY = SigningKey(
    access_key_id=ACCESS_KEY_ID,
    key=derive_key(SECRET, CredentialScope("20130524", "us-east-1", "s3")),
    scope=SCOPE,
    timestamp=TIMESTAMP,
    seed_signature=SEED,
)
TRAILERS = {"x-amz-checksum-crc32": "y/Q5Jg=="}
kinds = st.sampled_from(["signed", "signed_trailer", "unsigned_trailer"])
bodies = st.lists(st.integers(8192, 20_000), max_size=2).flatmap(
    lambda sizes: st.tuples(st.just([bytes([65 + number]) * size for number, size in enumerate(sizes)]), st.binary(max_size=50))
).map(lambda pair: pair[0] + ([pair[1]] if pair[1] else []))  # fmt: skip


def encode(kind, chunks):
    if kind == "unsigned_trailer":
        return unsigned_chunks(chunks, trailers=TRAILERS)
    return signed_chunks(chunks, seed=SEED, trailers=TRAILERS if kind == "signed_trailer" else None)


def decoder_of(kind, length):
    return ChunkedDecoder(
        signing=None if kind == "unsigned_trailer" else KEY,
        signed=kind != "unsigned_trailer",
        trailer_names=frozenset(TRAILERS if kind != "signed" else ()),
        trailer_signed=kind == "signed_trailer",
        decoded_length=length,
    )


@given(kind=kinds, chunks=bodies, data=st.data())
def test_any_split_gives_the_same_output(kind, chunks, data):
    body = encode(kind, chunks)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    decoder = decoder_of(kind, sum(map(len, chunks)))
    output = b"".join(
        decoder.feed(body[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)
    )
    decoder.finish()
    assert output == b"".join(chunks)
    assert decoder.trailers == (TRAILERS if kind != "signed" else {})


@given(chunks=bodies, trailer=st.booleans(), data=st.data())
def test_a4_no_changed_byte_of_a_signed_body_is_accepted(chunks, trailer, data):
    kind = "signed_trailer" if trailer else "signed"
    body = bytearray(encode(kind, chunks))
    position = data.draw(st.one_of(st.integers(0, len(body) - 1), st.integers(max(0, len(body) - 200), len(body) - 1)))
    original = body[position]
    body[position] ^= data.draw(st.integers(1, 255))
    # The size in hex and a trailer's name may be written in either case: the same value, not another one.
    same = chr(original).lower() == chr(body[position]).lower()
    decoder = decoder_of(kind, sum(map(len, chunks)))
    output = b""
    with suppress(S3Error):
        output = decoder.feed(bytes(body))
        decoder.finish()
        assert same
        assert output == b"".join(chunks)
    assert b"".join(chunks).startswith(output)


@given(kind=kinds, body=st.binary(max_size=200), length=st.integers(0, 100))
def test_nothing_but_an_s3_error(kind, body, length):
    decoder = decoder_of(kind, length)
    with suppress(S3Error):
        assert len(decoder.feed(body)) <= length
        decoder.finish()


@given(
    name=st.sampled_from(sorted(set(ALGORITHMS) & {name.upper() for name in BOTOCORE_CHECKSUMS})),
    size=st.integers(0, 30_000),
)
def test_botocore_sends_we_decode_and_check(name, size):
    data = bytes(index % 251 for index in range(size))
    header = ALGORITHMS[name].header
    wrapper = httpchecksum.AwsChunkedWrapper(
        io.BytesIO(data), checksum_cls=BOTOCORE_CHECKSUMS[name.lower()], checksum_name=header, chunk_size=10_000
    )
    promise = expected(Headers.of([("X-Amz-Trailer", header), ("X-Amz-Sdk-Checksum-Algorithm", name)]))
    decoder = ChunkedDecoder(
        signing=None, signed=False, trailer_names=frozenset({header}), trailer_signed=False, decoded_length=size
    )
    digests = Digests(promise.names)
    for block in wrapper:
        digests.update(decoder.feed(block))
    decoder.finish()
    digests.check(promise, decoder.trailers, show_digests=True)
