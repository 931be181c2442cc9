"""Requests into members and members into answers: the exact bytes and texts of S3."""

from datetime import UTC, datetime
from xml.etree.ElementTree import fromstring

import pytest

from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers
from strongroom.aws.model import load_s3_model
from strongroom.aws.rest_xml import body_kind, parse_head, serialize, serialize_error
from strongroom.aws.routing import route

MODEL = load_s3_model()
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


def parse(method, path, query="", *headers):
    given = Headers.of(headers)
    found = route(MODEL, method, path.encode(), query.encode(), "localhost", given, ())
    return parse_head(found.operation, found, given)


def answer(operation, output, status=None):
    return serialize(MODEL.operations[operation], output, status)


def document(operation, output):
    status, headers, body = answer(operation, output)
    assert (status, headers[-1], type(body)) == (200, ("content-type", "application/xml"), bytes)
    return bytes(body or b"").decode().removeprefix(DECLARATION)


def test_parse_head__put_object():
    parsed = parse(
        "PUT",
        "/bucket/a%20key",
        "x-id=PutObject&other=1",
        ("Host", "localhost"),
        ("Content-Length", "5"),
        ("Content-Type", "text/plain"),
        ("If-None-Match", "*"),
        ("X-Amz-Meta-One", " exact "),
        ("x-amz-meta-two", "a"),
        ("x-amz-meta-two", "b"),
        ("x-amz-meta-utf8", "\N{LOCK}".encode().decode("latin-1")),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-unknown", "1"),
    )
    assert parsed == {
        "Bucket": "bucket",
        "Key": "a key",
        "ContentLength": 5,
        "ContentType": "text/plain",
        "IfNoneMatch": "*",
        "Metadata": {"one": " exact ", "two": "a,b", "utf8": "\xf0\x9f\x94\x92"},
        "ServerSideEncryption": "AES256",
    }


def test_parse_head__a_repeated_header_reads_as_a_list_never_as_one_of_its_copies():
    given = [("x-amz-acl", "private"), ("x-amz-acl", "public-read")]
    assert parse("PUT", "/b/k", "", *given)["ACL"] == "private,public-read"


def test_parse_head__list_objects_v2():
    query = "list-type=2&prefix=a%2Bb+c&max-keys=10&fetch-owner=true&delimiter=&max-buckets=x"
    expected = {"Bucket": "b", "Prefix": "a+b c", "MaxKeys": 10, "FetchOwner": True, "Delimiter": ""}
    assert parse("GET", "/b", query) == expected


def test_parse_head__metadata_only_where_the_model_has_it():
    assert parse("GET", "/b/k", "", ("x-amz-meta-a", "1")) == {"Bucket": "b", "Key": "k"}


def test_parse_head__an_upload_form_has_no_key_in_its_path():
    assert parse("POST", "/b", "", ("Content-Type", "multipart/form-data; boundary=x"))["Bucket"] == "b"


@pytest.mark.parametrize(
    ("method", "path", "query", "code", "message"),
    [
        (
            "PUT",
            "/b/k",
            "partNumber=&uploadId=u",
            "InvalidArgument",
            "Part number must be an integer between 1 and 10000",
        ),
        ("GET", "/b/k", "attributes", "InvalidRequest", "The x-amz-object-attributes header specifying"),
        ("DELETE", "/b", "analytics", "InvalidRequest", "Missing required query parameter for this request: id"),
        (
            "PUT",
            "/b/k",
            "renameObject",
            "InvalidRequest",
            "Missing required header for this request: x-amz-rename-source",
        ),
    ],
)
def test_parse_head__a_required_member_is_missing(method, path, query, code, message):
    with pytest.raises(S3Error) as caught:
        parse(method, path, query)
    assert caught.value.code == code
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("GetObject", "none"),
        ("PutObject", "stream"),
        ("UploadPart", "stream"),
        ("CopyObject", "none"),
        ("DeleteObjects", "xml"),
        ("SelectObjectContent", "xml"),
        ("PutBucketPolicy", "blob"),
    ],
)
def test_body_kind(operation, kind):
    assert body_kind(MODEL.operations[operation]) == kind


def test_serialize__get_object_leaves_the_body_to_the_handler():
    output = {
        "ContentLength": 5,
        "LastModified": WHEN,
        "ETag": '"e"',
        "VersionId": None,
        "Metadata": {"one": "1"},
        "Body": object(),
    }
    assert answer("GetObject", output, 206) == (
        206,
        [
            ("content-length", "5"),
            ("last-modified", "Fri, 02 Jan 2026 03:04:05 GMT"),
            ("etag", '"e"'),
            ("x-amz-meta-one", "1"),
        ],
        None,
    )


@pytest.mark.parametrize(
    ("operation", "output", "expected"),
    [
        ("DeleteObject", {"DeleteMarker": True}, (204, [("x-amz-delete-marker", "true")], b"")),
        ("DeleteBucket", {}, (204, [], b"")),
        ("PutBucketTagging", {}, (204, [], b"")),
        ("PutBucketVersioning", {"Anything": None}, (200, [], b"")),
        ("HeadBucket", {"BucketRegion": "r"}, (200, [("x-amz-bucket-region", "r")], b"")),
        ("PutObject", {"ETag": '"e"'}, (200, [("etag", '"e"')], b"")),
        ("GetBucketPolicy", {"Policy": "{}"}, (200, [("content-type", "application/json")], b"{}")),
        ("GetBucketEncryption", {}, (200, [], b"")),
        ("SelectObjectContent", {"Payload": object()}, (200, [], None)),
    ],
)
def test_serialize__answers_without_a_document(operation, output, expected):
    assert answer(operation, output) == expected


@pytest.mark.parametrize(
    ("operation", "output", "expected"),
    [
        ("GetBucketLocation", {}, f"<LocationConstraint {XMLNS}></LocationConstraint>"),
        (
            "GetBucketLocation",
            {"LocationConstraint": "eu-west-1"},
            f"<LocationConstraint {XMLNS}>eu-west-1</LocationConstraint>",
        ),
        ("GetBucketVersioning", {}, f"<VersioningConfiguration {XMLNS}></VersioningConfiguration>"),
        (
            "CreateMultipartUpload",
            {"Bucket": "b", "Key": "k", "UploadId": "u"},
            (
                f"<InitiateMultipartUploadResult {XMLNS}><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId>"
                "</InitiateMultipartUploadResult>"
            ),
        ),
        (
            "CopyObject",
            {"CopyObjectResult": {"ETag": '"e"', "LastModified": WHEN}},
            (
                f"<CopyObjectResult {XMLNS}><ETag>&quot;e&quot;</ETag><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
                "</CopyObjectResult>"
            ),
        ),
        (
            "GetObjectTagging",
            {"TagSet": [{"Key": "a", "Value": ""}]},
            f"<Tagging {XMLNS}><TagSet><Tag><Key>a</Key><Value></Value></Tag></TagSet></Tagging>",
        ),
        (
            "ListObjectsV2",
            {
                "Contents": [{"Key": "a", "Size": 0, "ChecksumAlgorithm": ["CRC32"]}, {"Key": "b", "ETag": None}],
                "CommonPrefixes": [{"Prefix": "p/"}],
                "Name": "b",
                "IsTruncated": False,
                "MaxKeys": 1000,
            },
            (
                f"<ListBucketResult {XMLNS}><IsTruncated>false</IsTruncated><Name>b</Name><MaxKeys>1000</MaxKeys>"
                "<Contents><Key>a</Key><Size>0</Size><ChecksumAlgorithm>CRC32</ChecksumAlgorithm></Contents>"
                "<Contents><Key>b</Key></Contents><CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>"
            ),
        ),
        (
            "GetBucketAcl",
            {"Grants": [{"Grantee": {"Type": "CanonicalUser", "ID": "i"}, "Permission": "READ"}]},
            (
                f'<AccessControlPolicy {XMLNS}><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/'
                'XMLSchema-instance" xsi:type="CanonicalUser"><ID>i</ID></Grantee><Permission>READ</Permission></Grant>'
                "</AccessControlList></AccessControlPolicy>"
            ),
        ),
    ],
)
def test_serialize__document(operation, output, expected):
    assert document(operation, output) == expected


@pytest.mark.parametrize(
    ("operation", "output"),
    [
        ("DeleteBucket", {"Anything": 1}),
        ("PutObject", {"Etag": "e"}),
        ("ListObjectsV2", {"Content": []}),
        ("ListObjectsV2", {"Contents": [{"Etag": "e"}]}),
        ("CopyObject", {"CopyObjectResult": {}, "LastModified": WHEN}),
        ("GetObject", {"Boby": b""}),
        ("GetBucketLocation", {"Location": "r"}),
        ("GetObject", {"LastModified": datetime(2026, 1, 2)}),  # noqa: DTZ001
    ],
)
def test_serialize__a_mistake_of_a_handler_does_not_leave_the_server(operation, output):
    with pytest.raises(ValueError, match=r"member|zone"):
        answer(operation, output)


def test_serialize_error():
    detail = {"ArgumentName": "x", "ArgumentValue": "<&\x01\r"}
    body = serialize_error("InvalidArgument", 'No "x"', detail, "R", "H", "/b/k")
    assert body.decode() == (
        f"{DECLARATION}<Error><Code>InvalidArgument</Code><Message>No &quot;x&quot;</Message><ArgumentName>x</ArgumentName>"
        "<ArgumentValue>&lt;&amp;\ufffd&#xD;</ArgumentValue><Resource>/b/k</Resource><RequestId>R</RequestId>"
        "<HostId>H</HostId></Error>"
    )
    assert fromstring(body).findtext("ArgumentValue") == "<&\ufffd\r"


def test_serialize_error__without_resource():
    assert b"<Resource>" not in serialize_error("NoSuchKey", "m", {}, "R", "H")
