"""I5: whatever arrives, the answer is never a 500, and never none (versitygw 422b5a70, rustfs GHSA-gw2x).

Requests are put together from the names of the official model and from values that have broken servers before, and they
are well signed, so that they get as far as a request can get.
"""

import base64
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.aws.model import load_s3_model
from tests.harness import Server, customer_key_headers, sign_headers
from tests.security.inprocess import Store, opened

MODEL = load_s3_model()
MEMBERS = [
    member
    for operation in MODEL.operations.values()
    if operation.input is not None
    for member in operation.input.members.values()
]
QUERY_NAMES = sorted(
    {name for operation in MODEL.operations.values() for name, _ in operation.query}
    | {member.wire_name for member in MEMBERS if member.location == "querystring"}
)
HEADER_NAMES = sorted(
    {member.wire_name.lower() for member in MEMBERS if member.location == "header"}
    | {
        "content-encoding",
        "expect",
        "x-amz-trailer",
        "x-amz-decoded-content-length",
        "x-amz-meta-a",
        "te",
        "x-forwarded-for",
    }
    - {"content-length", "host"}
)
ODD = [
    "",
    "0",
    "1",
    "-1",
    "2",
    "10001",
    "9" * 30,
    "1.5",
    "1e9",
    "true",
    "False",
    "null",
    "None",
    "NaN",
    "a",
    "/",
    "..",
    "%",
    "%00",
    "%FF",
    "a,b",
    '"a"',
    '"',
    "*",
    "AES256",
    "aws:kms",
    "SSE-C",
    "Enabled",
    "REPLACE",
    "COPY",
    "url",
    "SHA256",
    "CRC32",
    "COMPOSITE",
    "FULL_OBJECT",
    "bytes=0-0",
    "bytes=-1",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Thu, 32 Jan 99999 00:00:00 GMT",
    "2026-01-01T00:00:00Z",
    "/bucket/object",
    "bucket/missing?versionId=null",
    "/bucket/sealed",
    "a=b&c=d",
    "a=b&a=c",
    "=",
    "\xe9\xff",
    "x" * 3000,
    base64.b64encode(bytes(32)).decode(),
    base64.b64encode(bytes(16)).decode(),
    base64.b64encode(bytes(4)).decode(),
]
DOCUMENTS = [
    b"",
    b"content",
    b"<",
    b"<a/>",
    b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    b"<Delete><Object><Key>object</Key><VersionId>x</VersionId></Object></Delete>",
    b"<Delete><Quiet>maybe</Quiet></Delete>",
    b"<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete></VersioningConfiguration>",
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>",
    b"<CompleteMultipartUpload><Part><PartNumber>99999999999</PartNumber></Part></CompleteMultipartUpload>",
    b"<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
    b"<CreateBucketConfiguration><LocationConstraint>eu</LocationConstraint></CreateBucketConfiguration>",
    bytes(range(256)) * 40,
]
KEY = customer_key_headers(b"k" * 32)

values = st.one_of(st.sampled_from(ODD), st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20))
paths = st.one_of(
    st.sampled_from(
        ["/", "/bucket", "/bucket/", "/bucket/object", "/bucket/sealed", "/bucket/parts", "/missing/object"]
    ),
    st.text(st.sampled_from("ab/.%2eFf0é?#&+ \\"), max_size=12).map(lambda text: "/" + text.replace(" ", "")),
)
queries = st.lists(
    st.tuples(st.one_of(st.sampled_from(QUERY_NAMES), st.text("ab%&=;+", max_size=4)), values), max_size=3
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).replace("#", "").replace(" ", "%20"))
headers = st.dictionaries(st.sampled_from(HEADER_NAMES), values, max_size=4)
methods = st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with opened(tmp_path_factory.mktemp("fuzz") / "data") as store:
        yield store


def prepare(store: Store) -> str:
    """What requests find, whatever the ones before did; the id of an open upload."""
    store.send("PUT", "/bucket")
    store.send("PUT", "/bucket/object", body=b"content")
    store.send("PUT", "/bucket/sealed", headers=KEY, body=b"content")
    return store.send("POST", "/bucket/parts?uploads").element("UploadId")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=methods,
    path=paths,
    query=queries,
    extra=headers,
    body=st.sampled_from(DOCUMENTS),
    with_key=st.booleans(),
    with_upload=st.sampled_from([False, False, False, True]),
)
def test_i5_no_request_is_a_500(
    store: Store,
    method: str,
    path: str,
    query: str,
    extra: dict[str, str],
    body: bytes,
    with_key: bool,
    with_upload: bool,
) -> None:
    upload = prepare(store) if store.send("HEAD", "/bucket/sealed", headers=KEY).status != 200 or with_upload else ""
    given = {**(KEY if with_key else {}), **extra}
    if "content-md5" not in given:
        given["content-md5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
    if with_upload:
        query = f"uploadId={upload}" + (f"&{query}" if query else "")
    reply = store.send(method, f"{path}?{query}" if query else path, headers=given, body=body)
    assert reply.status < 500 or reply.status == 501, reply
    assert reply.complete
    if reply.status >= 400 and method != "HEAD":
        assert reply.body.startswith(b"<?xml")
        assert reply.code


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([name for name, operation in MODEL.operations.items() if not operation.deprecated]),
    data=st.data(),
    body=st.sampled_from(DOCUMENTS),
)
def test_i5_no_member_of_an_operation_takes_a_value_that_breaks_it(
    store: Store, name: str, data: st.DataObject, body: bytes
) -> None:
    operation = MODEL.operations[name]
    upload = prepare(store)
    path = operation.path.replace("{Bucket}", "bucket").replace(
        "{Key+}", data.draw(st.sampled_from(["object", "parts", "sealed"]))
    )
    query = [f"{each}={value}" if value else each for each, value in operation.query]
    query += [f"{each}={upload if each == 'uploadId' else '1'}" for each in sorted(operation.required_query)]
    given = {
        "content-md5": base64.b64encode(hashlib.md5(body).digest()).decode(),
        **dict.fromkeys(operation.required_headers, "/bucket/object"),
    }
    members = list(operation.input.members.values()) if operation.input is not None else []
    for member in data.draw(st.lists(st.sampled_from(members), max_size=3, unique_by=id)) if members else []:
        value = data.draw(st.sampled_from(ODD))
        if member.location == "header":
            given[member.wire_name.lower()] = value
        elif member.location == "querystring":
            query.append(f"{member.wire_name}={value}".replace(" ", "%20").replace("&", "%26"))
    given.pop("content-length", None)
    target = f"{path}?{'&'.join(query)}" if query else path
    reply = store.send(operation.method, target, headers=given, body=body)
    assert reply.status < 500 or reply.status == 501, reply


RAW = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.one_of(
            st.sampled_from(
                [
                    *(
                        b"GET / HTTP/1.1\r\n",
                        b"PUT /bucket/a HTTP/1.1\r\n",
                        b"POST * HTTP/1.1\r\n",
                        b"GET / HTTP/9.9\r\n",
                    ),
                    *(
                        b"Host: a\r\n",
                        b"Host:\r\n",
                        b"Content-Length: 3\r\n",
                        b"Transfer-Encoding: chunked\r\n",
                        b"\r\n",
                        b"\n",
                    ),
                    *(
                        b"Authorization: AWS4-HMAC-SHA256 Credential=",
                        b"x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n",
                        b"3\r\n",
                    ),
                    *(
                        b"Expect: 100-continue\r\n",
                        b"Upgrade: websocket\r\nConnection: upgrade\r\n",
                        b"\x00",
                        b" : \r\n",
                        b"abc",
                    ),
                ]
            ),
            st.binary(max_size=10),
        ),
        max_size=8,
    ).map(b"".join),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=RAW)
def test_i5_no_bytes_on_the_socket_are_a_500(server: Server, raw: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(raw + b"\r\n\r\n")
        connection.shutdown(1)  # nothing more comes
        answer = b""
        try:
            while more := connection.recv(65536):
                answer += more
        except ConnectionResetError:
            pass
    for line in answer.split(b"\r\n"):
        if line.startswith(b"HTTP/1.1 "):
            assert int(line.split()[1]) < 500 or int(line.split()[1]) == 501
    assert server.send("GET", "/-/ready", sign=False).status == 200


def test_i5_a_header_section_without_end_is_refused(server: Server, bucket: str) -> None:
    many = {f"x-amz-meta-{number}": "a" for number in range(1000)}
    for headers in ({"x-amz-meta-a": "b" * 100_000}, many, {"x-custom-" + "n" * 20_000: "a"}):
        reply = server.send("GET", f"/{bucket}", headers=headers)
        assert (reply.status, reply.code) == (400, "RequestHeaderSectionTooLarge")
    reply = server.send("GET", f"/{bucket}?prefix={'a' * 100_000}")
    assert reply.status == 400


def test_i5_metadata_beyond_its_limit_is_refused(server: Server, bucket: str) -> None:
    reply = server.send("PUT", f"/{bucket}/object", headers={"x-amz-meta-a": "b" * 2048}, body=b"x")
    assert (reply.status, reply.code) == (400, "MetadataTooLarge")
    assert server.send("PUT", f"/{bucket}/object", headers={"x-amz-meta-a": "b" * 2047}, body=b"x").status == 200


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=60))
def test_i5_no_authorization_header_is_a_500(server: Server, text: str) -> None:
    for value in (
        text,
        f"AWS4-HMAC-SHA256 {text}",
        f"AWS4-HMAC-SHA256 Credential={text},SignedHeaders=host,Signature={text}",
    ):
        headers = {"authorization": value, "x-amz-date": "20260101T000000Z", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
        assert server.send("GET", "/", headers=headers, sign=False).status in (400, 403)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.sampled_from(["Infinity", "99999999999999999999999999999999", "x" * 5000]),
        st.text("0123456789TZ/", max_size=20),
    )
)
def test_i5_no_date_is_a_500(server: Server, text: str) -> None:
    given = {"host": "a"}
    head = sign_headers(
        "GET",
        b"/",
        given,
        payload="UNSIGNED-PAYLOAD",
        access_key_id=server.access_key_id,
        secret=server.secret,
        now=datetime.now(UTC),
    )
    for name in ("x-amz-date", "date"):
        headers = {**given, **head, name: text}
        if name == "date":
            del headers["x-amz-date"]
        assert server.send("GET", "/", headers=headers, sign=False).status in (400, 403)
