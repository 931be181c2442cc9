"""Who sent this request: the classes A1 to A10 of bugs that other servers had, each on the real wire.

Every test that expects a refusal also looks that nothing was stored, and has an accepted twin, so that no request is
refused for another reason than the one under test.
"""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from tests.harness import EMPTY_SHA256, Reply, Server, sign_headers, unique_bucket
from tests.wire import (
    SIGNED,
    SIGNED_TRAILER,
    UNSIGNED_TRAILER,
    ChunkedBody,
    exchange,
    presign,
    request_bytes,
    signed,
    streaming_put,
)

CRC32 = {"x-amz-checksum-crc32": "/sUwqQ=="}  # of b"content"
NOT_SIGNED = "There were headers present in the request which were not signed"


def refused(reply: Reply, code: str, status: int = 403) -> None:
    assert (reply.status, reply.code) == (status, code)


def nothing_stored(server: Server, bucket: str) -> None:
    assert server.send("GET", f"/{bucket}?list-type=2").element("KeyCount") == "0"


# --- A1, A4: payload forms

FORMS = {
    "hash": None,
    "unsigned": "UNSIGNED-PAYLOAD",
    "signed-chunks": SIGNED,
    "signed-trailer": SIGNED_TRAILER,
    "unsigned-trailer": UNSIGNED_TRAILER,
}


def put_as(server: Server, bucket: str, payload: str | None, damage: str = "") -> Reply:
    """PUT in a payload form, the signature left whole, wrong, or off."""

    def hurt(head: dict[str, str]) -> None:
        authorization = head["authorization"]
        if damage == "wrong":
            head["authorization"] = authorization[:-1] + ("0" if authorization[-1] != "0" else "1")
        if damage == "empty":
            head["authorization"] = authorization.rpartition("Signature=")[0] + "Signature="
        if damage == "absent":
            del head["authorization"]
        if damage == "stranger":
            head["authorization"] = authorization.replace(server.access_key_id, "SRSTRANGER")

    if payload in (SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER):
        trailers = None if payload == SIGNED else CRC32
        return streaming_put(server, f"/{bucket}/object", [b"content"], payload, trailers=trailers, damage=hurt)
    given = {"content-length": "7"}
    digest = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    head = signed(server, "PUT", f"/{bucket}/object", given, payload=payload or digest)
    hurt(head)
    return exchange(server, request_bytes("PUT", f"/{bucket}/object", list(head.items()), b"content"), "PUT")


@pytest.mark.parametrize("payload", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("wrong", "SignatureDoesNotMatch"),
        ("empty", "SignatureDoesNotMatch"),
        ("absent", "AccessDenied"),
        ("stranger", "InvalidAccessKeyId"),
    ],
)
def test_a1_each_payload_form_with_a_bad_signature_is_403__minio_ghsa_wg47(
    server: Server, bucket: str, payload: str | None, damage: str, code: str
) -> None:
    refused(put_as(server, bucket, payload, damage), code)
    nothing_stored(server, bucket)
    assert put_as(server, bucket, payload).status == 200
    assert server.send("GET", f"/{bucket}/object").body == b"content"


@pytest.mark.parametrize(
    "sentinel",
    [
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
        "STREAMING-UNSIGNED-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-",
        "streaming-unsigned-payload-trailer",
        "unsigned-payload",
        "UNSIGNED-PAYLOAD,UNSIGNED-PAYLOAD",
        "required",
        "E" * 64,
        "e" * 63,
        "",
    ],
)
def test_a1_an_unknown_payload_form_is_400(server: Server, bucket: str, sentinel: str) -> None:
    head = signed(server, "PUT", f"/{bucket}/object", {"content-length": "7"}, payload=sentinel)
    reply = exchange(server, request_bytes("PUT", f"/{bucket}/object", list(head.items()), b"content"), "PUT")
    refused(reply, "InvalidArgument", 400)
    assert reply.element("ArgumentName") == "x-amz-content-sha256"
    nothing_stored(server, bucket)


def test_a1_a_signed_request_must_say_its_payload_form(server: Server, bucket: str) -> None:
    head = signed(server, "PUT", f"/{bucket}/object", {"content-length": "7"})
    del head["x-amz-content-sha256"]
    reply = exchange(server, request_bytes("PUT", f"/{bucket}/object", list(head.items()), b"content"), "PUT")
    refused(reply, "InvalidRequest", 400)
    nothing_stored(server, bucket)


def test_a1_a_body_that_is_not_the_signed_hash_is_refused(server: Server, bucket: str) -> None:
    head = signed(server, "PUT", f"/{bucket}/object", {"content-length": "7"})
    reply = exchange(server, request_bytes("PUT", f"/{bucket}/object", list(head.items()), b"content"), "PUT")
    refused(reply, "XAmzContentSHA256Mismatch", 400)
    nothing_stored(server, bucket)


def test_a1_a_signed_hash_covers_documents_too(server: Server, bucket: str) -> None:
    document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    head = signed(server, "PUT", f"/{bucket}?versioning", {"content-length": str(len(document))})
    reply = exchange(server, request_bytes("PUT", f"/{bucket}?versioning", list(head.items()), document), "PUT")
    refused(reply, "XAmzContentSHA256Mismatch", 400)
    assert b"Enabled" not in server.send("GET", f"/{bucket}?versioning").body


CHUNK = bytes(range(256)) * 40  # 10,240 bytes: more than the least that a chunk may have


def flip(data: bytes, at: int = 0) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def chunk_data(body: ChunkedBody) -> bytes:
    (line, data), *rest = body.chunks
    return ChunkedBody(((line, flip(data)), *rest), body.trailer).encode()


def second_chunk_data(body: ChunkedBody) -> bytes:
    first, (line, data), last = body.chunks
    return ChunkedBody((first, (line, flip(data, 9000)), last), body.trailer).encode()


def chunk_signature(body: ChunkedBody) -> bytes:
    (line, data), *rest = body.chunks
    return ChunkedBody(((flip(line, len(line) - 1), data), *rest), body.trailer).encode()


def no_chunk_signature(body: ChunkedBody) -> bytes:
    (line, data), *rest = body.chunks
    return ChunkedBody(((line.partition(b";")[0], data), *rest), body.trailer).encode()


def swapped_chunks(body: ChunkedBody) -> bytes:
    first, second, last = body.chunks
    return ChunkedBody((second, first, last), body.trailer).encode()


def repeated_chunk(body: ChunkedBody) -> bytes:
    first, _, last = body.chunks
    return ChunkedBody((first, first, last), body.trailer).encode()


def dropped_chunk(body: ChunkedBody) -> bytes:
    first, _, last = body.chunks
    return ChunkedBody((first, last), body.trailer).encode()


def joined_chunks(body: ChunkedBody) -> bytes:
    (line, one), (_, two), last = body.chunks
    size, _, signature = line.partition(b";")
    assert int(size, 16) == len(one)
    return ChunkedBody(((b"%x;%s" % (len(one + two), signature), one + two), last), body.trailer).encode()


def shorter_size(body: ChunkedBody) -> bytes:
    (line, data), *rest = body.chunks
    _, _, signature = line.partition(b";")
    return ChunkedBody(((b"%x;%s" % (len(data) - 1, signature), data[:-1]), *rest), body.trailer).encode()


def last_chunk_signature(body: ChunkedBody) -> bytes:
    *rest, (line, _) = body.chunks
    return ChunkedBody((*rest, (flip(line, len(line) - 1), b"")), body.trailer).encode()


def no_last_chunk(body: ChunkedBody) -> bytes:
    return b"".join(line + b"\r\n" + data + b"\r\n" for line, data in body.chunks[:-1])


def no_end(body: ChunkedBody) -> bytes:
    return body.encode()[:-2]


def bytes_behind_the_end(body: ChunkedBody) -> bytes:
    return body.encode() + b"more"


def plain_bytes(body: ChunkedBody) -> bytes:
    return b"".join(data for _, data in body.chunks)


def trailer_value(body: ChunkedBody) -> bytes:
    return ChunkedBody(body.chunks, body.trailer.replace(b"sUw", b"sUx")).encode()


def trailer_signature(body: ChunkedBody) -> bytes:
    return ChunkedBody(body.chunks, flip(body.trailer, len(body.trailer) - 3)).encode()


def no_trailer_signature(body: ChunkedBody) -> bytes:
    return ChunkedBody(body.chunks, body.trailer.partition(b"x-amz-trailer-signature")[0]).encode()


def no_trailer(body: ChunkedBody) -> bytes:
    return ChunkedBody(body.chunks).encode()


def another_trailer(body: ChunkedBody) -> bytes:
    return ChunkedBody(body.chunks, b"x-amz-meta-a:b\r\n" + body.trailer).encode()


def repeated_trailer(body: ChunkedBody) -> bytes:
    line, end, rest = body.trailer.partition(b"\r\n")
    return ChunkedBody(body.chunks, line + end + line + end + rest).encode()


ON_CHUNKS = [
    chunk_data,
    second_chunk_data,
    chunk_signature,
    no_chunk_signature,
    swapped_chunks,
    repeated_chunk,
    dropped_chunk,
    joined_chunks,
    shorter_size,
    last_chunk_signature,
    no_last_chunk,
    no_end,
    bytes_behind_the_end,
    plain_bytes,
]
ON_TRAILERS = [no_trailer, trailer_value, another_trailer, repeated_trailer]
ON_SIGNED_TRAILERS = [trailer_signature, no_trailer_signature]
UNSIGNED_CHUNKS = [shorter_size, dropped_chunk, no_last_chunk, no_end, bytes_behind_the_end, plain_bytes]


@pytest.mark.parametrize("tamper", ON_CHUNKS, ids=lambda tamper: tamper.__name__)
@pytest.mark.parametrize("payload", [SIGNED, SIGNED_TRAILER])
def test_a4_tampered_chunks_are_refused_and_nothing_is_stored__seaweedfs_2180(
    server: Server, bucket: str, payload: str, tamper
) -> None:
    trailers = {"x-amz-checksum-crc32": "AAAAAA=="} if payload == SIGNED_TRAILER else None
    chunks = [CHUNK, CHUNK[::-1]]
    reply = streaming_put(server, f"/{bucket}/object", chunks, payload, trailers=trailers, tamper=tamper)
    assert (reply.status, reply.code) in [(403, "SignatureDoesNotMatch"), (400, "IncompleteBody")]
    nothing_stored(server, bucket)


@pytest.mark.parametrize(
    ("payload", "tamper"),
    [(SIGNED_TRAILER, tamper) for tamper in (*ON_TRAILERS, *ON_SIGNED_TRAILERS)]
    + [(UNSIGNED_TRAILER, tamper) for tamper in (*ON_TRAILERS,)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a4_tampered_trailers_are_refused_and_nothing_is_stored(
    server: Server, bucket: str, payload: str, tamper
) -> None:
    reply = streaming_put(server, f"/{bucket}/object", [b"content"], payload, trailers=CRC32, tamper=tamper)
    assert (reply.status, reply.code) in [
        (403, "SignatureDoesNotMatch"),
        (400, "MalformedTrailerError"),
        (400, "BadDigest"),
    ]
    nothing_stored(server, bucket)


@pytest.mark.parametrize("tamper", UNSIGNED_CHUNKS, ids=lambda tamper: tamper.__name__)
def test_a4_unsigned_chunks_are_held_against_length_and_checksum(server: Server, bucket: str, tamper) -> None:
    chunks = [CHUNK, CHUNK[::-1]]
    trailers = {"x-amz-checksum-crc32": "AAAAAA=="}
    reply = streaming_put(server, f"/{bucket}/object", chunks, UNSIGNED_TRAILER, trailers=trailers, tamper=tamper)
    refused(reply, "IncompleteBody", 400)
    nothing_stored(server, bucket)


@pytest.mark.parametrize("length", ["6", "8", "0", "-7", "7.0", "1e1", "", "+7", "99999999999999999999"])
@pytest.mark.parametrize("payload", [SIGNED, UNSIGNED_TRAILER])
def test_a4_the_decoded_length_is_held(server: Server, bucket: str, payload: str, length: str) -> None:
    given = {"x-amz-decoded-content-length": length}
    trailers = CRC32 if payload == UNSIGNED_TRAILER else None
    reply = streaming_put(server, f"/{bucket}/object", [b"content"], payload, trailers=trailers, headers=given)
    assert (reply.status, reply.code) in [(400, "IncompleteBody"), (400, "InvalidArgument")]
    nothing_stored(server, bucket)


def test_a4_chunk_signatures_of_another_request_do_not_fit(server: Server, bucket: str) -> None:
    kept: list[bytes] = []

    def keep(body: ChunkedBody) -> bytes:
        kept.append(body.encode())
        return kept[0]

    assert streaming_put(server, f"/{bucket}/first", [b"content"], SIGNED, tamper=keep).status == 200
    headers = {"x-amz-meta-other": "1"}
    reply = streaming_put(server, f"/{bucket}/second", [b"content"], SIGNED, headers=headers, tamper=keep)
    refused(reply, "SignatureDoesNotMatch")
    assert server.send("HEAD", f"/{bucket}/second").status == 404


# --- A2: one place with credentials


def test_a2_credentials_in_two_places_are_refused__minio_ghsa_hv4r(server: Server, bucket: str) -> None:
    server.send("PUT", f"/{bucket}/object", body=b"content")
    target = presign(server, "GET", f"/{bucket}/object")
    assert server.send("GET", target, sign=False).body == b"content"
    refused(server.send("GET", target), "InvalidArgument", 400)
    bearer = {"authorization": "Bearer token"}
    refused(server.send("GET", target, headers=bearer, sign=False), "InvalidArgument", 400)
    for mark in ("X-Amz-Credential=a", "X-Amz-Signature=a", "x-amz-algorithm=AWS4-HMAC-SHA256", "Signature=a"):
        refused(server.send("GET", f"/{bucket}/object?{mark}"), "InvalidArgument", 400)


@pytest.mark.parametrize("payload", ["UNSIGNED-PAYLOAD", UNSIGNED_TRAILER])
def test_a2_a_credential_in_the_query_proves_nothing(server: Server, bucket: str, payload: str) -> None:
    scope = quote(f"{server.access_key_id}/20260101/us-east-1/s3/aws4_request", safe="")
    given = {"x-amz-content-sha256": payload, "x-amz-decoded-content-length": "7"}
    for query in (
        f"X-Amz-Credential={scope}",
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={scope}",
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={scope}&X-Amz-Signature=",
    ):
        target = f"/{bucket}/object?{query}"
        reply = server.send("PUT", target, headers=given, body=b"content", sign=False)
        refused(reply, "AuthorizationQueryParametersError", 400)
    nothing_stored(server, bucket)


def test_a2_a_security_token_that_nobody_issued_is_refused(server: Server, bucket: str) -> None:
    refused(server.send("GET", f"/{bucket}", headers={"x-amz-security-token": "t"}), "InvalidToken", 400)
    target = presign(server, "GET", f"/{bucket}", query="X-Amz-Security-Token=t")
    refused(server.send("GET", target, sign=False), "InvalidToken", 400)


def test_a2_presigned_parameters_given_twice_are_refused(server: Server, bucket: str) -> None:
    target = presign(server, "GET", f"/{bucket}")
    for again in ("X-Amz-Signature=0", "x-amz-expires=604800", "X-Amz-SignedHeaders=host"):
        refused(server.send("GET", f"{target}&{again}", sign=False), "AuthorizationQueryParametersError", 400)


# --- A5, A6: what a signature covers

ORDERS = [
    ("x-amz-meta-a", "b"),
    ("x-amz-acl", "private"),
    ("x-amz-tagging", "a=b"),
    ("x-amz-server-side-encryption", "AES256"),
    ("x-amz-storage-class", "STANDARD_IA"),
    ("x-amz-anything", "b"),
]


@pytest.mark.parametrize(("name", "value"), ORDERS)
def test_a5_an_unsigned_amz_header_is_403__rustfs_ghsa_g8w9(server: Server, bucket: str, name: str, value: str) -> None:
    target = f"/{bucket}/object"
    head = signed(server, "PUT", target, {"content-length": "0"})
    for where in (name, name.upper(), name.title()):
        lines = [*head.items(), (where, value)]
        reply = exchange(server, request_bytes("PUT", target, lines), "PUT")
        refused(reply, "AccessDenied")
        assert (reply.element("Message"), reply.element("HeadersNotSigned")) == (NOT_SIGNED, name)
    reply = server.send("PUT", presign(server, "PUT", target), headers={name: value}, body=b"c", sign=False)
    refused(reply, "AccessDenied")
    assert reply.element("HeadersNotSigned") == name
    nothing_stored(server, bucket)


def test_a5_an_unsigned_copy_source_reads_nothing__rustfs_ghsa_xm99(server: Server, bucket: str) -> None:
    victim = unique_bucket()
    server.send("PUT", f"/{victim}")
    server.send("PUT", f"/{victim}/secret", body=b"secret")
    target = presign(server, "PUT", f"/{bucket}/object")
    reply = server.send("PUT", target, headers={"x-amz-copy-source": f"/{victim}/secret"}, sign=False)
    refused(reply, "AccessDenied")
    assert reply.element("HeadersNotSigned") == "x-amz-copy-source"
    nothing_stored(server, bucket)


def test_a5_a_second_value_of_a_signed_header_breaks_the_signature(server: Server, bucket: str) -> None:
    target = f"/{bucket}/object"
    head = signed(server, "PUT", target, {"content-length": "0", "x-amz-meta-a": "b"})
    for lines in (
        [*head.items(), ("x-amz-meta-a", "c")],
        [("X-Amz-Meta-A", "c"), *head.items()],
        [*head.items(), ("x-amz-meta-a", "")],
    ):
        refused(exchange(server, request_bytes("PUT", target, lines), "PUT"), "SignatureDoesNotMatch")
    nothing_stored(server, bucket)


def test_a5_an_amz_parameter_of_a_presigned_query_is_signed_with_it(server: Server, bucket: str) -> None:
    target = presign(server, "PUT", f"/{bucket}/object", query="x-amz-meta-a=b")
    refused(server.send("PUT", target.replace("meta-a=b", "meta-a=c"), body=b"x", sign=False), "SignatureDoesNotMatch")
    refused(server.send("PUT", f"{target}&x-amz-acl=private", body=b"x", sign=False), "SignatureDoesNotMatch")
    nothing_stored(server, bucket)
    assert server.send("PUT", target, body=b"x", sign=False).status == 200
    assert server.send("HEAD", f"/{bucket}/object").headers["x-amz-meta-a"] == "b"


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ([], "AuthorizationHeaderMalformed"),
        (["x-amz-content-sha256", "x-amz-date"], "AccessDenied"),
        (["host", "host", "x-amz-content-sha256", "x-amz-date"], "AuthorizationHeaderMalformed"),
        (["Host", "x-amz-content-sha256", "x-amz-date"], "AuthorizationHeaderMalformed"),
        (["", "host", "x-amz-content-sha256", "x-amz-date"], "AuthorizationHeaderMalformed"),
    ],
    ids=["empty", "no-host", "duplicate", "upper-case", "empty-name"],
)
def test_a6_signed_headers_follow_the_rules__versitygw_57747021(
    server: Server, bucket: str, names: list[str], code: str
) -> None:
    given = {"host": f"127.0.0.1:{server.port}"}
    head = {
        **given,
        **sign_headers(
            "GET",
            f"/{bucket}".encode(),
            given,
            payload=EMPTY_SHA256,
            access_key_id=server.access_key_id,
            secret=server.secret,
            now=datetime.now(UTC),
            signed_headers=names,
        ),
    }
    reply = exchange(server, request_bytes("GET", f"/{bucket}", list(head.items())))
    refused(reply, code, 403 if code == "AccessDenied" else 400)


def test_a6_unsorted_signed_headers_are_refused(server: Server, bucket: str) -> None:
    head = signed(server, "GET", f"/{bucket}", {})
    head["authorization"] = head["authorization"].replace(
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date", "SignedHeaders=x-amz-date;host;x-amz-content-sha256"
    )
    refused(
        exchange(server, request_bytes("GET", f"/{bucket}", list(head.items()))), "AuthorizationHeaderMalformed", 400
    )


def test_a6_presigned_urls_sign_their_host(server: Server, bucket: str) -> None:
    for names in ([], ["x-amz-date"], ["host", "host"], ["Host"]):
        target = presign(server, "GET", f"/{bucket}", signed_headers=names)
        reply = server.send("GET", target, sign=False)
        assert (reply.status, reply.code) in [
            (403, "AccessDenied"),
            (400, "AuthorizationQueryParametersError"),
        ]


def test_a6_a_signed_header_left_out_at_use_breaks_the_signature(server: Server, bucket: str) -> None:
    headers = {"x-amz-meta-a": "b"}
    target = presign(server, "PUT", f"/{bucket}/object", headers=headers)
    refused(server.send("PUT", target, body=b"x", sign=False), "SignatureDoesNotMatch")
    nothing_stored(server, bucket)
    assert server.send("PUT", target, headers=headers, body=b"x", sign=False).status == 200


# --- A7: one reading of the query and the path


@pytest.mark.parametrize(
    "query",
    [
        "prefix=a%20b",
        "prefix=a+b",
        "prefix=a%2Bb",
        "prefix=",
        "prefix",
        "prefix=%C3%A9",
        "prefix=%c3%a9",
        "prefix=a=b",
        "prefix=~%7E",
        "b=2&a=1&b=1",
        "prefix=%2F&delimiter=%2f",
        "A=1&a=2",
        "prefix=%E2%82%AC&prefix2=%F0%9F%98%80",
    ],
)
def test_a7_each_way_to_write_a_query_is_signed_alike__seaweedfs_7589429b4(
    server: Server, bucket: str, query: str
) -> None:
    assert server.send("GET", f"/{bucket}?list-type=2&{query}").status == 200
    target = presign(server, "GET", f"/{bucket}", query=f"list-type=2&{query}")
    assert server.send("GET", target, sign=False).status == 200


@pytest.mark.parametrize("query", ["prefix=%FF", "prefix=%00", "prefix=%", "prefix=%4", "prefix=%zz", "%FF=a"])
def test_a7_a_query_that_is_no_text_is_400(server: Server, bucket: str, query: str) -> None:
    refused(server.send("GET", f"/{bucket}?list-type=2&{query}"), "InvalidURI", 400)


def test_a7_a_parameter_that_selects_is_given_once(server: Server, bucket: str) -> None:
    for query in ("prefix=a&prefix=b", "versionId=null&versionId=x", "list-type=2&list-type=1", "prefix=a&prefix=a"):
        refused(server.send("GET", f"/{bucket}?{query}"), "InvalidArgument", 400)


def test_a7_what_was_signed_is_what_was_sent(server: Server, bucket: str) -> None:
    """A signature over one target holds for no other that decodes to something else."""
    server.send("PUT", f"/{bucket}/a%2Bb", body=b"plus")
    server.send("PUT", f"/{bucket}/a%20b", body=b"space")
    target = presign(server, "GET", f"/{bucket}/a%2Bb")
    assert server.send("GET", target, sign=False).body == b"plus"
    refused(server.send("GET", target.replace("a%2Bb", "a%20b"), sign=False), "SignatureDoesNotMatch")
    refused(server.send("GET", target.replace("a%2Bb", "a%252Bb"), sign=False), "SignatureDoesNotMatch")
    refused(server.send("GET", target.replace(f"/{bucket}/", f"/{bucket}//"), sign=False), "SignatureDoesNotMatch")
    assert server.send("HEAD", target, sign=False).status == 403  # the method is signed


# --- A8: times


@pytest.mark.parametrize("minutes", [-16, 16, -60 * 24 * 8, 60 * 24 * 365])
def test_a8_a_clock_more_than_15_minutes_away_is_refused__rustfs_3520(
    server: Server, bucket: str, minutes: int
) -> None:
    moment = datetime.now(UTC) + timedelta(minutes=minutes)
    reply = server.send("GET", f"/{bucket}", now=moment)
    refused(reply, "RequestTimeTooSkewed")
    assert reply.element("MaxAllowedSkewMilliseconds") == "900000"
    assert reply.element("RequestTime") == moment.strftime("%Y%m%dT%H%M%SZ")


@pytest.mark.parametrize("minutes", [-14, 14])
def test_a8_a_clock_within_15_minutes_will_do(server: Server, bucket: str, minutes: int) -> None:
    moment = datetime.now(UTC) + timedelta(minutes=minutes)
    assert server.send("GET", f"/{bucket}", now=moment).status == 200


@pytest.mark.parametrize(
    ("expires", "code", "status"),
    [
        ("604801", "AuthorizationQueryParametersError", 400),
        ("0", "AuthorizationQueryParametersError", 400),
        ("-1", "AuthorizationQueryParametersError", 400),
        ("", "AuthorizationQueryParametersError", 400),
        ("1e3", "AuthorizationQueryParametersError", 400),
        ("9" * 30, "AuthorizationQueryParametersError", 400),
        ("604800", "", 200),
        ("1", "", 200),
    ],
)
def test_a8_a_presigned_url_lives_one_second_to_seven_days(
    server: Server, bucket: str, expires: str, code: str, status: int
) -> None:
    target = presign(server, "GET", f"/{bucket}", expires=expires)
    refused(server.send("GET", target, sign=False), code, status)


def test_a8_an_expired_or_future_url_is_refused(server: Server, bucket: str) -> None:
    now = datetime.now(UTC)
    late = server.send(
        "GET", presign(server, "GET", f"/{bucket}", expires=60, now=now - timedelta(61 / 86400)), sign=False
    )
    refused(late, "AccessDenied")
    assert late.element("Message") == "Request has expired"
    week = presign(server, "GET", f"/{bucket}", expires=604800, now=now - timedelta(days=7, seconds=5))
    refused(server.send("GET", week, sign=False), "AccessDenied")
    early = server.send("GET", presign(server, "GET", f"/{bucket}", now=now + timedelta(minutes=16)), sign=False)
    refused(early, "AccessDenied")
    assert early.element("Message") == "Request is not yet valid"
    longer = presign(server, "GET", f"/{bucket}", expires=60).replace("Expires=60", "Expires=600")
    refused(server.send("GET", longer, sign=False), "SignatureDoesNotMatch")


def test_a8_the_date_of_the_scope_is_the_date_of_the_request(server: Server, bucket: str) -> None:
    yesterday = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y%m%d")
    reply = server.send("GET", presign(server, "GET", f"/{bucket}", date=yesterday), sign=False)
    refused(reply, "AuthorizationQueryParametersError", 400)
    head = signed(server, "GET", f"/{bucket}", {})
    today = head["x-amz-date"][:8]
    head["authorization"] = head["authorization"].replace(f"/{today}/", f"/{yesterday}/")
    refused(
        exchange(server, request_bytes("GET", f"/{bucket}", list(head.items()))), "AuthorizationHeaderMalformed", 400
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [("/us-east-1/", "/eu-west-1/"), ("/s3/", "/kms/"), ("/s3/", "/s3tables/"), ("/aws4_request", "/aws5_request")],
)
def test_b12_the_scope_names_this_region_and_this_service__seaweedfs_ghsa_hgpf(
    server: Server, bucket: str, old: str, new: str
) -> None:
    head = signed(server, "GET", f"/{bucket}", {})
    head["authorization"] = head["authorization"].replace(old, new)
    reply = exchange(server, request_bytes("GET", f"/{bucket}", list(head.items())))
    refused(reply, "AuthorizationHeaderMalformed", 400)


# --- A9, A10


@pytest.mark.parametrize(
    "value",
    [
        "AWS SRKEY:c2lnbmF0dXJl",
        "AWS4-ECDSA-P256-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=0",
        "AWS4-HMAC-SHA1 Credential=a/20260101/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=0",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 ",
        "AWS4-HMAC-SHA256,Credential=a",
        "aws4-hmac-sha256 Credential=a/20260101/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=0",
        "AWS4-HMAC-SHA256X Credential=a/20260101/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=0",
        "Basic dXNlcjpwYXNz",
        "Bearer token",
        "\xe9",
    ],
)
def test_a9_nothing_but_signature_version_4__versitygw_e69d0732(server: Server, bucket: str, value: str) -> None:
    reply = server.send("GET", f"/{bucket}", headers={"authorization": value, "date": "x"}, sign=False)
    assert (reply.status, reply.code) in [
        (400, "InvalidRequest"),
        (400, "InvalidArgument"),
        (400, "AuthorizationHeaderMalformed"),
    ]


def test_a9_a_presigned_url_of_signature_version_2_is_refused(server: Server, bucket: str) -> None:
    target = f"/{bucket}?AWSAccessKeyId={server.access_key_id}&Expires=4000000000&Signature=c2ln"
    refused(server.send("GET", target, sign=False), "InvalidRequest", 400)


@pytest.mark.parametrize("name", ["x-forwarded-host", "forwarded", "x-original-host", "x-forwarded-server"])
def test_a10_the_host_is_the_one_of_the_host_field__seaweedfs_e6b284938(server: Server, bucket: str, name: str) -> None:
    """A signature for another host is not made good by a header that tells of that host."""
    other = "other.example"
    given = {"host": other}
    head = sign_headers(
        "GET",
        f"/{bucket}".encode(),
        given,
        payload=EMPTY_SHA256,
        access_key_id=server.access_key_id,
        secret=server.secret,
        now=datetime.now(UTC),
    )
    lines = [("host", f"127.0.0.1:{server.port}"), *head.items(), (name, other)]
    refused(exchange(server, request_bytes("GET", f"/{bucket}", lines)), "SignatureDoesNotMatch")


def test_an_error_about_a_signature_repeats_no_secret(server: Server, bucket: str) -> None:
    key = {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LWNhbmE=",
        "x-amz-server-side-encryption-customer-key-md5": "Y2FuYXJ5LW1kNQ==",
    }
    head = signed(server, "PUT", f"/{bucket}/object", {"content-length": "0", **key})
    head["authorization"] = head["authorization"][:-4] + "0000"
    reply = exchange(server, request_bytes("PUT", f"/{bucket}/object", list(head.items())), "PUT")
    refused(reply, "SignatureDoesNotMatch")
    assert b"Y2FuYXJ5" not in reply.body
    assert server.secret.encode() not in reply.body
    hexed = key["x-amz-server-side-encryption-customer-key"].encode().hex(" ").encode()
    assert hexed not in reply.body
