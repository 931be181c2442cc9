"""aws-chunked bodies: what comes out, and what a tampered one gets. Names A4: the peers' bugs of that class."""

import pytest

from strongroom.aws.chunked import MAX_SIGNED_CHUNK, ChunkedDecoder
from strongroom.aws.errors import S3Error
from strongroom.aws.sigv4 import CredentialScope, SigningKey, derive_key
from tests.aws_chunks import ACCESS_KEY_ID, SCOPE, SECRET, TIMESTAMP, signed_chunks, unsigned_chunks

SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
KEY = SigningKey(
    access_key_id=ACCESS_KEY_ID,
    key=derive_key(SECRET, CredentialScope("20130524", "us-east-1", "s3")),
    scope=SCOPE,
    timestamp=TIMESTAMP,
    seed_signature=SEED,
)
CHUNKS = [b"a" * 8192, b"b" * 9000, b"c" * 100]
DATA = b"".join(CHUNKS)  # 17292 bytes
TRAILERS = {"x-amz-checksum-crc32c": "sOO8/Q=="}

SIGNED = signed_chunks(CHUNKS, seed=SEED)
SIGNED_TRAILER = signed_chunks(CHUNKS, seed=SEED, trailers=TRAILERS)
UNSIGNED_TRAILER = unsigned_chunks(CHUNKS, trailers=TRAILERS)


def decoder_of(kind, *, length=17292, names=None):
    trailers = kind != "signed"
    return ChunkedDecoder(
        signing=KEY if kind != "unsigned_trailer" else None,
        signed=kind != "unsigned_trailer",
        trailer_names=frozenset(TRAILERS if trailers else ()) if names is None else frozenset(names),
        trailer_signed=kind == "signed_trailer",
        decoded_length=length,
    )


def decode(kind, body, **options):
    decoder = decoder_of(kind, **options)
    data = decoder.feed(body)
    decoder.finish()
    return data, decoder.trailers


def refusal(kind, body, **options):
    with pytest.raises(S3Error) as caught:
        decode(kind, body, **options)
    return caught.value


KINDS = {"signed": SIGNED, "signed_trailer": SIGNED_TRAILER, "unsigned_trailer": UNSIGNED_TRAILER}
EACH_KIND = pytest.mark.parametrize(("kind", "body"), KINDS.items(), ids=KINDS)


@EACH_KIND
def test_decodes(kind, body):
    assert decode(kind, body) == (DATA, {} if kind == "signed" else TRAILERS)


@EACH_KIND
def test_byte_by_byte(kind, body):
    decoder = decoder_of(kind)
    assert b"".join(decoder.feed(bytes([byte])) for byte in body) == DATA
    assert decoder.feed(b"") == b""
    decoder.finish()


def test_empty_objects():
    assert decode("signed", signed_chunks([], seed=SEED), length=0) == (b"", {})
    assert decode("signed_trailer", signed_chunks([], seed=SEED, trailers=TRAILERS), length=0) == (b"", TRAILERS)
    assert decode("unsigned_trailer", unsigned_chunks([], trailers=TRAILERS), length=0) == (b"", TRAILERS)
    assert decode("unsigned_trailer", unsigned_chunks([]), length=0, names=()) == (b"", {})


def test_unsigned_data_passes_before_its_chunk_is_complete():
    decoder = decoder_of("unsigned_trailer", length=1 << 40)
    assert decoder.feed(b"10000000000\r\nabc") == b"abc"
    assert decoder.feed(b"def") == b"def"


def test_a4_signed_data_waits_for_its_signature():
    decoder = decoder_of("signed")
    end_of_first = SIGNED.index(b"\r\n") + 2 + len(CHUNKS[0])
    assert decoder.feed(SIGNED[: end_of_first - 1]) == b""
    assert decoder.feed(SIGNED[end_of_first - 1 : end_of_first]) == CHUNKS[0]


def test_a4_no_byte_leaves_from_a_tampered_chunk():
    decoder = decoder_of("signed")
    first = SIGNED.index(b"bbb")
    released = decoder.feed(SIGNED[:first])
    with pytest.raises(S3Error):
        decoder.feed(b"X" + SIGNED[first + 1 :])
    assert released == CHUNKS[0]


def flipped(body, position):
    return body[:position] + bytes([body[position] ^ 1]) + body[position + 1 :]


@pytest.mark.parametrize("kind", ["signed", "signed_trailer"])
@pytest.mark.parametrize("number", range(4))
def test_a4_tampered_chunk_signatures(kind, number):
    body = KINDS[kind]
    position = -1
    for _ in range(number + 1):
        position = body.index(b"chunk-signature=", position + 1)
    error = refusal(kind, flipped(body, position + len(b"chunk-signature=") + 63))
    assert (error.code, error.status) == ("SignatureDoesNotMatch", 403)
    assert error.detail["StringToSign"].startswith("AWS4-HMAC-SHA256-PAYLOAD\n")
    absent = body[:position] + body[position + len(b"chunk-signature=") + 64 :]
    assert refusal(kind, absent).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("kind", ["signed", "signed_trailer"])
def test_a4_tampered_chunk_bytes(kind):
    for needle in (b"aaa", b"bbb", b"ccc"):
        assert refusal(kind, flipped(KINDS[kind], KINDS[kind].index(needle))).code == "SignatureDoesNotMatch"


@EACH_KIND
@pytest.mark.parametrize(
    "size", [b"1fff", b"2001", b"0", b"ffffffffffffffff", b"-1", b"", b"0x2000", b" 2000", b"2000 "]
)
def test_a4_tampered_chunk_sizes(kind, body, size):
    assert refusal(kind, size + body.removeprefix(b"2000")).code in ("SignatureDoesNotMatch", "IncompleteBody")


def test_a4_chunks_swapped_repeated_or_left_out():
    chunks = [b"a" * 8192, b"b" * 8192]
    body = signed_chunks(chunks, seed=SEED)
    size = body.index(b"\r\n") + 2 + 8192 + 2
    first, second, last = body[:size], body[size : 2 * size], body[2 * size :]
    assert decode("signed", first + second + last, length=2 * 8192)[0] == b"".join(chunks)
    for wrong in (second + first + last, first + first + last, second + last, first + last, last):
        assert refusal("signed", wrong, length=2 * 8192).code == "SignatureDoesNotMatch"


def test_a4_a_chunk_of_another_request():
    assert refusal("signed", signed_chunks(CHUNKS, seed="0" * 64)).code == "SignatureDoesNotMatch"


def test_a4_the_last_chunk_is_signed_too():
    last = SIGNED.rindex(b"0;chunk-signature=")
    assert refusal("signed", SIGNED[:last]).code == "IncompleteBody"
    assert refusal("signed", SIGNED[:last] + b"0\r\n\r\n").code == "SignatureDoesNotMatch"
    assert refusal("signed", SIGNED[:last] + b"0;chunk-signature=" + b"0" * 64 + b"\r\n\r\n").code == (
        "SignatureDoesNotMatch"
    )


def test_a4_tampered_trailers():
    error = refusal("signed_trailer", SIGNED_TRAILER.replace(b"sOO8/Q==", b"sOO8/g=="))
    assert error.code == "SignatureDoesNotMatch"
    assert error.detail["StringToSign"].startswith("AWS4-HMAC-SHA256-TRAILER\n")
    position = SIGNED_TRAILER.index(b"x-amz-trailer-signature:")
    assert refusal("signed_trailer", flipped(SIGNED_TRAILER, position + 30)).code == "SignatureDoesNotMatch"
    assert refusal("signed_trailer", SIGNED_TRAILER[:position] + b"\r\n").code == "SignatureDoesNotMatch"
    after = SIGNED_TRAILER[:-2] + b"x-amz-checksum-crc32c:sOO8/Q==\r\n\r\n"
    assert refusal("signed_trailer", after).code == "MalformedTrailerError"


@pytest.mark.parametrize(
    "trailers",
    [
        b"",
        b"x-amz-checksum-sha256:abc\r\n",
        b"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n",
        b"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-meta-a:b\r\n",
        b"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:abc\r\n",
        b"x-amz-checksum-crc32c\r\n",
        b"x-amz-checksum-crc32c :sOO8/Q==\r\n",
        b"x-amz-checksum-crc32c:\xe9\r\n",
        b":\r\n",
    ],
    ids=["absent", "undeclared", "twice", "one_more", "signature", "no_colon", "space", "not_ascii", "no_name"],
)
def test_malformed_trailers(trailers):
    body = unsigned_chunks(CHUNKS).removesuffix(b"\r\n") + trailers + b"\r\n"
    error = refusal("unsigned_trailer", body)
    assert (error.code, error.status) == ("MalformedTrailerError", 400)


def test_trailers_as_clients_write_them():
    for line in (b"X-Amz-Checksum-CRC32C: sOO8/Q== \r\n", b"x-amz-checksum-crc32c:sOO8/Q==\n\r\n"):
        body = unsigned_chunks(CHUNKS).removesuffix(b"\r\n") + line + b"\r\n"
        assert decode("unsigned_trailer", body) == (DATA, TRAILERS)


def test_a_trailer_announced_for_a_form_without_trailers_is_missed():
    assert refusal("signed", SIGNED, names=TRAILERS).code == "MalformedTrailerError"


@EACH_KIND
def test_every_truncation_is_incomplete(kind, body):
    for end in [*range(200), *range(len(body) - 300, len(body))]:
        decoder = decoder_of(kind)
        decoder.feed(body[:end])
        with pytest.raises(S3Error) as caught:
            decoder.finish()
        assert (caught.value.code, caught.value.status) == ("IncompleteBody", 400)


@EACH_KIND
@pytest.mark.parametrize("difference", [-1, 1])
def test_decoded_length_must_be_true(kind, body, difference):
    assert refusal(kind, body, length=len(DATA) + difference).code == "IncompleteBody"


@EACH_KIND
def test_bytes_after_the_end(kind, body):
    assert refusal(kind, body + b"\r").code == "IncompleteBody"
    decoder = decoder_of(kind)
    decoder.feed(body)
    decoder.feed(b"")
    with pytest.raises(S3Error):
        decoder.feed(b"0")


def test_an_error_is_final():
    decoder = decoder_of("signed")
    with pytest.raises(S3Error):
        decoder.feed(flipped(SIGNED, 30))
    for _ in range(2):
        with pytest.raises(S3Error):
            decoder.feed(SIGNED)
        with pytest.raises(S3Error):
            decoder.finish()


@pytest.mark.parametrize("kind", ["signed", "unsigned_trailer"])
def test_only_the_last_chunk_may_be_small(kind):
    chunks = [b"a" * 8192, b"b" * 8191, b"c"]
    body = signed_chunks(chunks, seed=SEED) if kind == "signed" else unsigned_chunks(chunks, trailers=TRAILERS)
    error = refusal(kind, body, length=8192 + 8191 + 1)
    assert (error.code, error.status) == ("InvalidChunkSizeError", 403)
    assert error.detail == {"Chunk": "2", "BadChunkSize": "8191"}


def test_lines_and_signed_chunks_are_bounded():
    assert refusal("signed", b"0" * 2000).code == "IncompleteBody"
    assert refusal("unsigned_trailer", b"0\r\n" + b"x-amz-checksum-crc32c:" + b"A" * 2000, length=0).code == (
        "IncompleteBody"
    )
    big = MAX_SIGNED_CHUNK + 1
    with pytest.raises(S3Error):
        decoder_of("signed", length=big).feed(f"{big:x};chunk-signature={'0' * 64}\r\n".encode())


@EACH_KIND
def test_data_must_end_with_its_chunk(kind, body):
    first = body.index(b"\r\n", 10000 if kind != "unsigned_trailer" else 8192)
    with pytest.raises(S3Error):
        decode(kind, body[:first] + b"\n\r" + body[first + 2 :])


def test_unsigned_chunks_have_no_extensions():
    body = unsigned_chunks(CHUNKS, trailers=TRAILERS).replace(b"2000\r\n", b"2000;a=b\r\n", 1)
    assert refusal("unsigned_trailer", body).code == "IncompleteBody"
