"""What a request claims, and which claims are believed. Names A1..A9: the peers' bugs of that class."""

import hashlib
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from strongroom.aws import sigv4
from strongroom.aws.http import Headers
from strongroom.aws.s3_signatures import signature_error
from strongroom.aws.signature_problems import SignatureProblem
from tests.aws_chunks import ACCESS_KEY_ID, EMPTY_SHA256, SCOPE, SECRET, TIMESTAMP, sign

NOW = datetime(2013, 5, 24, tzinfo=UTC)
HOST = ("host", "bucket.localhost:9000")
DATE = ("x-amz-date", TIMESTAMP)
HASH = ("x-amz-content-sha256", EMPTY_SHA256)
SENTINELS = [*sorted(sigv4.PAYLOAD_SENTINELS), EMPTY_SHA256]
NOT_SIGNED = "There were headers present in the request which were not signed"


def canonical(headers, names, *, method="GET", path="/key", query="", payload=EMPTY_SHA256):
    values = dict(headers)
    lines = "".join(f"{name}:{values.get(name, '')}\n" for name in names)
    return f"{method}\n{path}\n{query}\n{lines}\n{';'.join(names)}\n{payload}"


def header_signed(
    headers=(HOST, HASH, DATE), *, names=None, scope=SCOPE, timestamp=TIMESTAMP, secret=SECRET, path="/key"
):
    """A header-signed GET of /key, by a client that knows `secret`."""
    names = sorted(name for name, _ in headers) if names is None else names
    payload = dict(headers).get("x-amz-content-sha256", EMPTY_SHA256)
    digest = hashlib.sha256(canonical(headers, names, payload=payload, path=path).encode()).hexdigest()
    signature = sign(f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{digest}", secret=secret, scope=scope)
    credential = f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/{scope}, SignedHeaders={';'.join(names)}"
    return [*headers, ("authorization", f"{credential}, Signature={signature}")]


def presigned(
    headers=(HOST,), *, names=("host",), scope=SCOPE, timestamp=TIMESTAMP, expires="60", extra=None, secret=SECRET
):
    """The query of a presigned GET of /key."""
    parameters = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{ACCESS_KEY_ID}/{scope}",
        "X-Amz-Date": timestamp,
        "X-Amz-Expires": expires,
        "X-Amz-SignedHeaders": ";".join(names),
        **(extra or {}),
    }
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(parameters.items()))
    digest = hashlib.sha256(canonical(headers, names, query=query, payload="UNSIGNED-PAYLOAD").encode()).hexdigest()
    signature = sign(f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{digest}", secret=secret, scope=scope)
    return f"{query}&X-Amz-Signature={signature}"


def check(headers, *, query="", path=b"/key", now=NOW, region="us-east-1", method="GET", service="s3"):
    parsed = sigv4.parse_authorization(method, path, query.encode("latin-1"), Headers.of(headers))
    if parsed is None:
        return None
    raw_query = query.encode("latin-1")
    return sigv4.verify(
        parsed, SECRET, method, path, raw_query, Headers.of(headers), now=now, region=region, service=service
    )


def refusal(headers, **options):
    """What S3 answers."""
    with pytest.raises(SignatureProblem) as caught:
        check(headers, **options)
    return signature_error(caught.value)


def replaced(headers, old, new):
    return [(name, value.replace(old, new)) if name == "authorization" else (name, value) for name, value in headers]


# --- Who


def test_no_credentials_are_anonymous():
    assert check([HOST]) is None
    assert check([HOST], query="x-id=GetObject&X-Amz-Date=20130524T000000Z") is None
    assert check([HOST, ("authorization", "")]) is None


def test_header_signature_is_believed():
    key = check(header_signed())
    assert key is not None
    assert (key.access_key_id, key.scope, key.timestamp) == (ACCESS_KEY_ID, SCOPE, TIMESTAMP)
    assert key.sign("text") == sign("text")


def test_secrets_have_no_repr():
    headers = header_signed()
    key = check(headers)
    parsed = sigv4.parse_authorization("GET", b"/key", b"", Headers.of(headers))
    assert key is not None
    shown = repr(key) + repr(parsed)
    assert key.seed_signature not in shown
    assert repr(key.key) not in shown


def test_date_header_serves_without_x_amz_date():
    assert check(header_signed([("date", "Fri, 24 May 2013 00:00:00 GMT"), HOST, HASH])) is not None
    assert check(header_signed([("date", "Fri, 24 May 2013 02:00:00 +0200"), HOST, HASH])) is not None


def test_presigned_is_believed_in_any_letter_case():
    assert check([HOST], query=presigned()) is not None
    lower = presigned().replace("X-Amz-Signature", "x-amz-SIGNATURE")
    assert check([HOST], query=lower) is not None


@pytest.mark.parametrize("sentinel", SENTINELS)
@pytest.mark.parametrize("presign", [False, True], ids=["header", "presigned"])
def test_a1_every_payload_form_needs_the_signature(sentinel, presign):
    headers = [HOST, ("x-amz-content-sha256", sentinel), DATE]
    if presign:
        names = ("host", "x-amz-content-sha256", "x-amz-date")
        query = presigned(headers, names=names, secret="another")
        assert refusal(headers, query=query).code == "SignatureDoesNotMatch"
        return
    assert check(header_signed(headers)) is not None
    assert refusal(header_signed(headers, secret="another")).code == "SignatureDoesNotMatch"
    absent = replaced(header_signed(headers), ", Signature=", ", Other=")
    assert refusal(absent).code == "AuthorizationHeaderMalformed"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "STREAMING-UNSIGNED-PAYLOAD",
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
        "unsigned-payload",
        EMPTY_SHA256[1:],
        EMPTY_SHA256 + "0",
        "UNSIGNED-PAYLOAD,UNSIGNED-PAYLOAD",
        "\xe9",
    ],
)
def test_a1_unknown_payload_forms_are_refused(value):
    error = refusal([HOST, ("x-amz-content-sha256", value), DATE, header_signed()[-1]])
    assert (error.code, error.status) == ("InvalidArgument", 400)
    assert error.message.startswith("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-")
    query = presigned(extra={"X-Amz-Content-Sha256": value})
    assert refusal([HOST], query=query).code == "InvalidArgument"


def test_missing_payload_hash():
    error = refusal(header_signed([HOST, DATE]))
    assert error.message == "Missing required header for this request: x-amz-content-sha256"
    assert error.code == "InvalidRequest"


def test_a2_credentials_in_two_places_are_refused():
    both = refusal(header_signed(), query=presigned())
    assert both.code == "InvalidArgument"
    assert both.message.startswith("Only one auth mechanism allowed; ")
    mark = refusal(header_signed(), query=f"X-Amz-Credential={ACCESS_KEY_ID}/{SCOPE}")
    assert mark.code == "InvalidArgument"
    assert refusal(header_signed(), query="AWSAccessKeyId=a&Signature=b").code == "InvalidArgument"


@pytest.mark.parametrize("name", ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "x-amz-credential"])
def test_a2_a_credential_in_the_query_is_never_anonymous(name):
    assert refusal([HOST], query=f"{name}={ACCESS_KEY_ID}").code == "AuthorizationQueryParametersError"


@pytest.mark.parametrize("name", ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"])
def test_a2_query_parameters_appear_once_each(name):
    query = presigned()
    missing = "&".join(part for part in query.split("&") if not part.startswith(f"X-Amz-{name}="))
    assert refusal([HOST], query=missing).message.startswith("Query-string authentication version 4 requires")
    twice = f"{query}&x-amz-{name.lower()}=x"
    assert refusal([HOST], query=twice).code == "AuthorizationQueryParametersError"


# --- What is signed


@pytest.mark.parametrize("header", ["x-amz-copy-source", "x-amz-meta-color", "x-amz-security-token", "x-amz-acl"])
def test_a5_unsigned_amz_headers_are_refused(header):
    added = (header, "/other/secret")
    error = refusal([*header_signed(), added])
    assert (error.code, error.status, error.message) == ("AccessDenied", 403, NOT_SIGNED)
    assert error.detail == {"HeadersNotSigned": header}
    assert refusal([HOST, added], query=presigned()).detail == {"HeadersNotSigned": header}


def test_a5_the_payload_header_itself_must_be_signed():
    error = refusal(header_signed(names=["host", "x-amz-date"]))
    assert error.detail == {"HeadersNotSigned": "x-amz-content-sha256"}


def test_a5_a_presigned_request_ignores_an_unsigned_payload_header():
    headers = [HOST, ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")]
    parsed = sigv4.parse_authorization("GET", b"/key", presigned().encode(), Headers.of(headers))
    assert parsed is not None
    assert parsed.payload == "UNSIGNED-PAYLOAD"
    assert check(headers, query=presigned()) is not None


def test_a5_a_repeated_signed_header_counts_with_all_its_values():
    headers = header_signed([HOST, HASH, DATE, ("x-amz-meta-a", "1")])
    assert check(headers) is not None
    assert refusal([*headers, ("x-amz-meta-a", "2")]).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("presign", [False, True], ids=["header", "presigned"])
def test_a6_host_must_be_signed(presign):
    if presign:
        error = refusal([HOST, DATE], query=presigned([HOST, DATE], names=("x-amz-date",)))
    else:
        error = refusal(header_signed(names=["x-amz-content-sha256", "x-amz-date"]))
    assert (error.code, error.detail) == ("AccessDenied", {"HeadersNotSigned": "host"})


@pytest.mark.parametrize(
    "names",
    [
        [],
        [""],
        ["host", ""],
        ["host", "host", "x-amz-content-sha256", "x-amz-date"],
        ["Host", "x-amz-content-sha256", "x-amz-date"],
        ["x-amz-date", "host", "x-amz-content-sha256"],
        ["host", "x amz", "x-amz-content-sha256", "x-amz-date"],
        ["host", "x-amz-content-sha256", "x-amz-date", "x-amz-\u00e9"],
    ],
    ids=["none", "empty", "empty_member", "duplicate", "upper_case", "unsorted", "space", "not_ascii"],
)
def test_a6_the_list_of_signed_headers_is_sorted_lower_case_and_distinct(names):
    assert refusal(header_signed(names=names)).code == "AuthorizationHeaderMalformed"
    assert refusal([HOST], query=presigned(names=names)).code == "AuthorizationQueryParametersError"


def test_a7_repeated_plus_and_empty_query_parameters():
    query = "a=2&a=1&a=&A=3&b&k-x=2&k=1&p=x%20y"
    signed_as = "A=3&a=&a=1&a=2&b=&k=1&k-x=2&p=x%20y"
    headers = [HOST, HASH, DATE]
    names = ["host", "x-amz-content-sha256", "x-amz-date"]
    digest = hashlib.sha256(canonical(headers, names, query=signed_as).encode()).hexdigest()
    signature = sign(f"AWS4-HMAC-SHA256\n{TIMESTAMP}\n{SCOPE}\n{digest}")
    value = f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/{SCOPE},SignedHeaders={';'.join(names)},Signature={signature}"
    headers = [*headers, ("authorization", value)]
    assert check(headers, query=query) is not None
    assert check(headers, query=query.replace("x%20y", "x+y")) is not None
    for other in (query.replace("a=2&a=1", "a=2"), query + "&b", query.replace("x%20y", "x%2By"), query + "%FF"):
        assert refusal(headers, query=other).code == "SignatureDoesNotMatch"


def test_a7_a_slash_in_the_access_key_breaks_no_scope():
    headers = replaced(header_signed(), ACCESS_KEY_ID, "AKIA/EXAMPLE")
    error = refusal(headers)
    assert error.code == "AuthorizationHeaderMalformed"
    assert "the Credential is mal-formed; expecting" in error.message


@pytest.mark.parametrize(
    "path", [b"/key/", b"//key", b"/./key", b"/a/../key", b"/key%2f", b"/%6bey/x", b"/Key", b"/key%00", b"/key%ff"]
)
def test_a7_another_path_is_another_request(path):
    assert refusal(header_signed(), path=path).code == "SignatureDoesNotMatch"


def test_a_changed_method_host_or_signed_value_fails():
    headers = header_signed([HOST, HASH, DATE, ("x-amz-meta-a", "1")])
    assert refusal(headers, method="PUT").code == "SignatureDoesNotMatch"
    for old, new in ((HOST, ("host", "other")), (("x-amz-meta-a", "1"), ("x-amz-meta-a", "2"))):
        changed = [new if header == old else header for header in headers]
        assert refusal(changed).code == "SignatureDoesNotMatch"
    without = [header for header in headers if header[0] != "x-amz-meta-a"]
    assert refusal(without).code == "SignatureDoesNotMatch"


# --- Where and when


def test_a8_the_scope_date_is_the_request_date():
    error = refusal(header_signed(scope=SCOPE.replace("20130524", "20130523")))
    assert error.code == "AuthorizationHeaderMalformed"
    reason = 'Invalid credential date "20130523". This date is not the same as X-Amz-Date: "20130524".'
    assert error.message == f"The authorization header is malformed; {reason}"
    query = presigned(scope=SCOPE.replace("20130524", "20130523"))
    error = refusal([HOST], query=query)
    assert (error.code, error.message) == ("AuthorizationQueryParametersError", reason)


@pytest.mark.parametrize(("seconds", "valid"), [(-901, False), (-900, True), (900, True), (901, False), (-960, False)])
def test_a8_fifteen_minutes_of_skew(seconds, valid):
    now = NOW - timedelta(seconds=seconds)
    if valid:
        assert check(header_signed(), now=now) is not None
        return
    error = refusal(header_signed(), now=now)
    assert (error.code, error.status) == ("RequestTimeTooSkewed", 403)
    assert error.detail["RequestTime"] == TIMESTAMP
    assert error.detail["MaxAllowedSkewMilliseconds"] == "900000"
    assert error.detail["ServerTime"] == now.isoformat().replace("+00:00", "Z")


def test_a8_the_signature_is_checked_before_the_time():
    late = NOW + timedelta(days=1)
    assert refusal(header_signed(secret="another"), now=late).code == "SignatureDoesNotMatch"
    assert refusal([HOST], query=presigned(secret="another"), now=late).code == "SignatureDoesNotMatch"


def test_a8_presigned_requests_expire():
    query = presigned()
    assert check([HOST], query=query, now=NOW + timedelta(seconds=60)) is not None
    error = refusal([HOST], query=query, now=NOW + timedelta(seconds=61))
    assert (error.code, error.message) == ("AccessDenied", "Request has expired")
    assert error.detail == {
        "X-Amz-Expires": "60",
        "Expires": "2013-05-24T00:01:00Z",
        "ServerTime": "2013-05-24T00:01:01Z",
    }


def test_a8_presigned_requests_of_the_future():
    query = presigned()
    assert check([HOST], query=query, now=NOW - timedelta(minutes=15)) is not None
    error = refusal([HOST], query=query, now=NOW - timedelta(minutes=15, seconds=1))
    assert (error.code, error.message) == ("AccessDenied", "Request is not yet valid")
    assert error.detail["X-Amz-Date"] == "1369353600000"


def test_a8_the_last_second_of_the_calendar_is_no_crash():
    query = presigned(timestamp="99991231T235959Z", scope=SCOPE.replace("20130524", "99991231"), expires="604800")
    assert refusal([HOST], query=query).message == "Request is not yet valid"


@pytest.mark.parametrize(
    ("expires", "message"),
    [
        (
            "604801",
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less",
        ),
        ("0", "X-Amz-Expires must be non-negative"),
        ("-1", "X-Amz-Expires must be non-negative"),
        ("1h", "X-Amz-Expires should be a number"),
        ("", "X-Amz-Expires should be a number"),
        ("\u0661", "X-Amz-Expires should be a number"),
        ("9" * 5000, "X-Amz-Expires should be a number"),
    ],
)
def test_a8_presigned_requests_last_from_a_second_to_a_week(expires, message):
    error = refusal([HOST], query=presigned(expires=expires))
    assert error.code == "AuthorizationQueryParametersError"
    assert error.message.startswith(message)
    assert check([HOST], query=presigned(expires="604800"), now=NOW + timedelta(days=7)) is not None


@pytest.mark.parametrize(
    "value", ["2013-05-24T00:00:00Z", "20130524T000000", "20130524T000060Z", "20131324T000000Z", ""]
)
def test_malformed_timestamps(value):
    headers = header_signed([HOST, HASH, ("x-amz-date", value)])
    error = refusal(headers)
    assert (error.code, error.message) == (
        "AccessDenied",
        "AWS authentication requires a valid Date or x-amz-date header",
    )
    error = refusal([HOST], query=presigned(timestamp=value))
    assert error.message == "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""


def test_another_region_is_named():
    error = refusal(header_signed(), region="eu-west-1")
    assert error.code == "AuthorizationHeaderMalformed"
    reason = "the region 'us-east-1' is wrong; expecting 'eu-west-1'"
    assert error.message == f"The authorization header is malformed; {reason}"
    assert error.detail == {"Region": "eu-west-1"}
    error = refusal([HOST], query=presigned(), region="eu-west-1")
    assert (error.code, error.message) == (
        "AuthorizationQueryParametersError",
        f"Error parsing the X-Amz-Credential parameter; {reason}",
    )


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        ("20130524/us-east-1/ec2/aws4_request", 'incorrect service "ec2". This endpoint belongs to "s3".'),
        ("20130524/us-east-1/s3tables/aws4_request", 'incorrect service "s3tables". This endpoint belongs to "s3".'),
        ("20130524/us-east-1/s3/aws4_reques", 'incorrect terminal "aws4_reques". This endpoint uses "aws4_request".'),
        (
            "2013052/us-east-1/s3/aws4_request",
            'incorrect date format "2013052". This date in the credential must be in the format "yyyyMMdd".',
        ),
        (
            "20130524/s3/aws4_request",
            'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
        ),
    ],
)
def test_malformed_scopes(scope, reason):
    assert refusal(header_signed(scope=scope)).message == f"The authorization header is malformed; {reason}"
    error = refusal([HOST], query=presigned(scope=scope))
    assert error.message == f"Error parsing the X-Amz-Credential parameter; {reason}"


@pytest.mark.parametrize("service", ["s3express", "s3-object-lambda"])
def test_services_of_s3_that_have_endpoints_of_their_own_are_not_implemented(service):
    scope = SCOPE.replace("/s3/", f"/{service}/")
    assert refusal(header_signed(scope=scope)).code == "NotImplemented"
    assert refusal([HOST], query=presigned(scope=scope)).code == "NotImplemented"


def test_the_service_is_the_endpoints():
    kms = SCOPE.replace("/s3/", "/kms/")
    assert check(header_signed(scope=kms), service="kms") is not None
    assert refusal(header_signed(), service="kms").code == "AuthorizationHeaderMalformed"


# --- Other mechanisms and malformed headers


@pytest.mark.parametrize(
    "value", ["AWS AKID:frJIUN8DYpKDtOLCwo//yllqDzg=", "AWS4-ECDSA-P256-SHA256 a", "AWS4 x", "AWS"]
)
def test_a9_other_versions_of_the_signature_are_refused(value):
    error = refusal([HOST, ("authorization", value)])
    assert (error.code, error.message) == (
        "InvalidRequest",
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    )


@pytest.mark.parametrize("query", ["AWSAccessKeyId=AKID&Expires=1&Signature=x", "AWSAccessKeyId=AKID", "Signature=x"])
def test_a9_version_two_in_the_query_is_refused(query):
    assert refusal([HOST], query=query).code == "InvalidRequest"


@pytest.mark.parametrize("value", ["Bearer token", "Basic dXNlcjpwYXNz", "AWS4-HMAC-SHA256Credential=x", "x"])
def test_a9_other_schemes_are_refused_without_repeating_them(value):
    error = refusal([HOST, ("authorization", value)])
    assert error.status == 400
    assert value not in str(error) + str(error.detail)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a",
        f"Credential={ACCESS_KEY_ID}/{SCOPE}, Signature=0",
        f"Credential={ACCESS_KEY_ID}/{SCOPE}, SignedHeaders=host, Signature=0, Signature=0",
        f"Credential={ACCESS_KEY_ID}/{SCOPE}, SignedHeaders=host, Signature=0, Other=0",
        f"Credential=/{SCOPE}, SignedHeaders=host, Signature=0",
        f"Credential=AK\x7fID/{SCOPE}, SignedHeaders=host, Signature=0",
    ],
)
def test_malformed_authorization_headers(value):
    error = refusal([HOST, HASH, DATE, ("authorization", f"AWS4-HMAC-SHA256 {value}")])
    assert (error.code, error.status) == ("AuthorizationHeaderMalformed", 400)


def test_components_come_in_any_order_with_any_spacing():
    scheme, credential, signed_headers, signature = dict(header_signed())["authorization"].replace(",", "").split(" ")
    for value in (f"{signature},{credential},{signed_headers}", f"  {credential} ,\t{signature},  {signed_headers} "):
        assert check([HOST, HASH, DATE, ("authorization", f"{scheme} {value}")]) is not None


# --- What the refusal says


def test_a_mismatch_shows_what_was_signed():
    error = refusal(header_signed(secret="another"))
    text = canonical([HOST, HASH, DATE], ["host", "x-amz-content-sha256", "x-amz-date"])
    string_to_sign = f"AWS4-HMAC-SHA256\n{TIMESTAMP}\n{SCOPE}\n{hashlib.sha256(text.encode()).hexdigest()}"
    assert error.status == 403
    assert error.detail["AWSAccessKeyId"] == ACCESS_KEY_ID
    assert error.detail["StringToSign"] == string_to_sign
    assert error.detail["StringToSignBytes"] == string_to_sign.encode().hex(" ")
    assert error.detail["CanonicalRequest"] == text
    assert error.detail["CanonicalRequestBytes"] == text.encode().hex(" ")
    assert len(error.detail["SignatureProvided"]) == 64


@pytest.mark.parametrize(
    "name",
    [
        "x-amz-server-side-encryption-customer-key",
        "x-amz-server-side-encryption-customer-key-md5",
        "x-amz-copy-source-server-side-encryption-customer-key",
        "x-amz-server-side-encryption-context",
        "x-amz-server-side-encryption-aws-kms-key-id",
        "x-amz-security-token",
    ],
)
def test_g1_a_mismatch_never_shows_a_customer_key(name):
    canary = "Y2FuYXJ5LWN1c3RvbWVyLWtleS1jYW5hcnktMTIzNDU="
    error = refusal(header_signed([HOST, HASH, DATE, (name, canary)], secret="another"))
    assert canary not in str(error.detail)
    assert canary.encode().hex(" ") not in str(error.detail)
    hoisted = refusal([HOST], query=presigned(extra={name.title(): canary}, secret="another"))
    assert "Y2FuYXJ5" not in str(hoisted.detail)


def test_every_character_of_a_signature_counts_and_nothing_may_follow():
    headers = header_signed()
    right = dict(headers)["authorization"].partition("Signature=")[2]
    others = [f"{right[:at]}{'0' if right[at] != '0' else '1'}{right[at + 1 :]}" for at in range(64)]
    for signature in (*others, right[:-1], f"{right}0", right.upper()):
        assert refusal(replaced(headers, right, signature)).code == "SignatureDoesNotMatch"


def test_a_signature_of_odd_characters_is_only_wrong():
    for signature in ("", "é" * 64, "0" * 63, "\u0130"):
        headers = header_signed()
        right = dict(headers)["authorization"].rpartition("=")[2]
        assert refusal(replaced(headers, right, signature)).code == "SignatureDoesNotMatch"
