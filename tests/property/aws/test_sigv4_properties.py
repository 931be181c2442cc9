"""botocore signs, we verify: every request it can sign is believed, and any one changed thing is not."""

from datetime import UTC, datetime
from unittest import mock

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws import sigv4
from strongroom.aws.http import Headers
from strongroom.aws.s3_signatures import signature_error
from strongroom.aws.signature_problems import SignatureProblem

NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
ACCESS_KEY_ID, SECRET, REGION = "AKIAEXAMPLE", "secret/+with= signs", "eu-central-1"
UNRESERVED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"

texts = st.text(st.characters(codec="utf-8"), max_size=12)
header_values = st.text(st.sampled_from("abcXYZ019 ,;=/+\"'()\t"), max_size=20)
names = texts.filter(lambda name: name and not name.lower().startswith(("x-amz-", "awsaccesskeyid", "signature")))
queries = st.lists(st.tuples(names, texts), max_size=4, unique_by=lambda pair: pair[0].lower())
metadata = st.dictionaries(st.text("abcdef0123456789-", min_size=1, max_size=6), header_values, max_size=3)
methods = st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"])


def percent(text, safe):
    return "".join(
        chr(byte) if chr(byte) in UNRESERVED + safe else f"%{byte:02X}" for byte in text.encode("utf-8", "strict")
    )


def signed_by_botocore(signer, method, path, query, meta, body):
    """(method, raw path, raw query, headers) as they go over the wire."""
    target = "/bucket/" + percent(path, "/")
    search = "&".join(f"{percent(name, '')}={percent(value, '')}" for name, value in query)
    request = AWSRequest(
        method=method,
        url=f"https://store.example:9443{target}" + (f"?{search}" if search else ""),
        headers={f"x-amz-meta-{name}": value for name, value in meta.items()},
        data=body,
    )
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW):
        signer.add_auth(request)
    url = request.prepare().url
    raw_path, _, raw_query = url.removeprefix("https://store.example:9443").partition("?")
    headers = [("host", "store.example:9443"), *((name.lower(), str(value)) for name, value in request.headers.items())]
    return method, raw_path.encode("ascii"), raw_query.encode("ascii"), headers


def believed(method, path, query, headers):
    values = Headers.of((name, value.encode().decode("latin-1")) for name, value in headers)
    parsed = sigv4.parse_authorization(method, path, query, values)
    return parsed is not None and sigv4.verify(parsed, SECRET, method, path, query, values, now=NOW, region=REGION)


def outcome(method, path, query, headers):
    """(believed?, the error)"""
    try:
        return believed(method, path, query, headers), None
    except SignatureProblem as problem:
        return False, signature_error(problem)


def refused(method, path, query, headers):
    return not outcome(method, path, query, headers)[0]


@given(method=methods, path=texts, query=queries, meta=metadata, body=st.binary(max_size=8))
def test_header_signed(method, path, query, meta, body):
    signer = S3SigV4Auth(Credentials(ACCESS_KEY_ID, SECRET), "s3", REGION)
    request = signed_by_botocore(signer, method, path, query, meta, body)
    assert believed(*request)


@given(method=methods, path=texts, query=queries, meta=metadata, expires=st.integers(1, 604_800))
def test_presigned(method, path, query, meta, expires):
    signer = S3SigV4QueryAuth(Credentials(ACCESS_KEY_ID, SECRET), "s3", REGION, expires=expires)
    request = signed_by_botocore(signer, method, path, query, meta, b"")
    assert believed(*request)


@given(
    presign=st.booleans(),
    path=texts,
    query=queries,
    meta=metadata,
    part=st.sampled_from(["method", "path", "query", "header", "added", "removed"]),
    data=st.data(),
)
def test_any_one_changed_thing_is_refused(presign, path, query, meta, part, data):
    kind = S3SigV4QueryAuth if presign else S3SigV4Auth
    signer = kind(Credentials(ACCESS_KEY_ID, SECRET), "s3", REGION)
    method, raw_path, raw_query, headers = signed_by_botocore(signer, "PUT", path, query, meta, b"")
    if part == "method":
        method = "DELETE"
    elif part == "path":
        raw_path += data.draw(st.sampled_from([b"x", b"/", b"%00", b"/.."]))
    elif part == "query":
        added = data.draw(st.sampled_from([b"versionId=1", b"uploads", b"x=%FF"]))
        raw_query = b"&".join(filter(None, [raw_query, added]))
    elif part == "added":
        headers = [*headers, (data.draw(st.sampled_from(["x-amz-copy-source", "x-amz-acl", "host"])), "other")]
    else:
        signed = {"host", *(f"x-amz-meta-{name}" for name in meta)} | (
            set() if presign else {"x-amz-date", "x-amz-content-sha256", "authorization"}
        )
        name = data.draw(st.sampled_from(sorted(signed)))
        if part == "removed":
            headers = [pair for pair in headers if pair[0] != name]
            assert refused(method, raw_path, raw_query, headers)
            return
        headers = [(each, value + "x" if each == name else value) for each, value in headers]
    assert refused(method, raw_path, raw_query, headers)


SCOPES = ["A/20260314/eu-central-1/s3/aws4_request", "A/99991231/eu-central-1/s3/aws4_request"]
MOMENTS = ["20260314T150926Z", "99991231T235959Z"]
PARAMETERS = ["Algorithm", "Credential", "date", "Expires", "SignedHeaders", "Signature", "Content-Sha256"]
ARGUMENTS = ["AWS4-HMAC-SHA256", *SCOPES, *MOMENTS, "60", "host", "%ff%00", "0", "", "a;b"]


@given(
    query=st.one_of(
        st.binary(max_size=60),
        st.lists(st.tuples(st.sampled_from(PARAMETERS), st.sampled_from(ARGUMENTS)), max_size=9).map(
            lambda pairs: "&".join(f"X-Amz-{name}={value}" for name, value in pairs).encode()
        ),
    ),
    headers=st.lists(
        st.tuples(
            st.sampled_from(["authorization", "x-amz-date", "x-amz-content-sha256", "date", "host", "x-amz-meta-a"]),
            st.one_of(
                st.text(st.characters(max_codepoint=255), max_size=40),
                st.sampled_from(
                    [
                        f"AWS4-HMAC-SHA256 Credential={SCOPES[0]},SignedHeaders=host,Signature=0",
                        "20260314T150926Z",
                        "Sat, 14 Mar 2026 15:09:26 GMT",
                        "Sat, 14 Mar 0000 15:09:26 -9999",
                        "UNSIGNED-PAYLOAD",
                        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
                    ]
                ),
            ),
        ),
        max_size=6,
    ),
    path=st.binary(max_size=10),
)
def test_nothing_but_an_s3_error(query, headers, path):
    """Whatever arrives is refused or anonymous; nobody who lacks the secret is believed, and nothing crashes."""
    result, error = outcome("GET", path, query, headers)
    assert result is False
    if error is not None:
        assert 400 <= error.status < 500
        assert all(isinstance(value, str) for value in error.detail.values())
