"""Which operation, bucket and key a request names. Names C1, C4 and ceph#36264: the peers' bugs of that class."""

import pytest

from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers
from strongroom.aws.model import load_s3_model
from strongroom.aws.routing import MAX_KEY_BYTES, climbs_above_root, effective_headers, route

MODEL = load_s3_model()
DOMAINS = ("s3.example.com", "example.com")
SUBRESOURCES = sorted({name for each in MODEL.operations.values() for name, _ in each.query})
FOREIGN = ["append", "compose", "defaultObjectAcl", "extract", "quota", "storageClass"]
PRESIGNED = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20260102%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20260102T030405Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
)


def find(method, path, query="", *, host="localhost:9000", headers=(), domains=DOMAINS):
    return route(MODEL, method, path.encode("latin-1"), query.encode("latin-1"), host, Headers.of(headers), domains)


def refusal(*args, **kwargs):
    with pytest.raises(S3Error) as caught:
        find(*args, **kwargs)
    return caught.value


@pytest.mark.parametrize(
    ("host", "path", "bucket", "key", "virtual_host"),
    [
        ("localhost:9000", "/bucket/key", "bucket", "key", False),
        ("127.0.0.1", "/bucket/key", "bucket", "key", False),
        ("[::1]:9000", "/bucket/key", "bucket", "key", False),
        (None, "/bucket/key", "bucket", "key", False),
        ("s3.example.com", "/bucket/key", "bucket", "key", False),
        ("example.com:9000", "/bucket/key", "bucket", "key", False),
        ("bucket.s3.example.com", "/key", "bucket", "key", True),
        ("bucket.s3.example.com:9000", "/a/key", "bucket", "a/key", True),
        ("BUCKET.S3.Example.COM", "/Key", "bucket", "Key", True),
        ("my.bucket.example.com", "/key", "my.bucket", "key", True),
        ("bucket.s3.example.com", "//key", "bucket", "/key", True),
        ("bucket.s3.example.com", "/-/live", "bucket", "-/live", True),
        ("notexample.com", "/bucket/key", "bucket", "key", False),
        ("bucket.s3.example.org", "/bucket/key", "bucket", "key", False),
    ],
)
def test_route__path_style_and_virtual_host_style(host, path, bucket, key, virtual_host):
    found = find("GET", path, host=host)
    assert (found.bucket, found.key, found.virtual_host) == (bucket, key, virtual_host)
    assert found.operation.name == "GetObject"


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "name"),
    [
        ("GET", "/", "", (), "ListBuckets"),
        ("GET", "/b", "", (), "ListObjects"),
        ("GET", "/b/", "", (), "ListObjects"),
        ("GET", "/b", "list-type=2&prefix=x", (), "ListObjectsV2"),
        ("GET", "/b", "location", (), "GetBucketLocation"),
        ("GET", "/b", "location=", (), "GetBucketLocation"),
        ("HEAD", "/b", "", (), "HeadBucket"),
        ("POST", "/b", "delete", (), "DeleteObjects"),
        ("POST", "/b", "", (("Content-Type", "multipart/form-data; boundary=x"),), "PostObject"),
        ("PUT", "/b/k", "", (), "PutObject"),
        ("PUT", "/b/k", "x-id=PutObject", (), "PutObject"),
        ("PUT", "/b/k", "custom=1", (), "PutObject"),
        ("PUT", "/b/k", "", (("X-Amz-Copy-Source", "b/s"),), "CopyObject"),
        ("PUT", "/b/k", f"{PRESIGNED}&x-amz-copy-source=b%2Fs", (), "CopyObject"),
        ("PUT", "/b/k", "x-amz-copy-source=b%2Fs", (), "PutObject"),
        ("PUT", "/b/k", "partNumber=1&uploadId=u", (), "UploadPart"),
        ("PUT", "/b/k", "uploadId=u&partNumber=1", (("x-amz-copy-source", "b/s"),), "UploadPartCopy"),
        ("GET", "/b/k", "uploadId=u", (), "ListParts"),
        ("GET", "/b/k", "partNumber=3", (), "GetObject"),
        ("GET", "/b/k", "anything=1", (), "GetObject"),
        ("GET", "/b/k", "attributes", (("x-amz-object-attributes", "ETag"),), "GetObjectAttributes"),
        ("GET", "/b/k", "attributes", (), "GetObjectAttributes"),
        ("POST", "/b/k", "uploads", (), "CreateMultipartUpload"),
        ("POST", "/b/k", "uploadId=u", (), "CompleteMultipartUpload"),
        ("POST", "/b/k", "select&select-type=2", (), "SelectObjectContent"),
        ("DELETE", "/b/k", "uploadId=u", (), "AbortMultipartUpload"),
        ("DELETE", "/b/k", "versionId=v", (), "DeleteObject"),
        ("DELETE", "/b/k", "", (), "DeleteObject"),
        ("DELETE", "/b/k", f"versionId=v&{PRESIGNED}", (), "DeleteObject"),
        ("DELETE", "/b", "", (), "DeleteBucket"),
        ("DELETE", "/b", PRESIGNED, (), "DeleteBucket"),
        ("GET", "/b", "analytics&id=1", (), "GetBucketAnalyticsConfiguration"),
        ("GET", "/b", "analytics", (), "ListBucketAnalyticsConfigurations"),
        ("POST", "/WriteGetObjectResponse", "", (), "WriteGetObjectResponse"),
        ("POST", "/WriteGetObjectResponse/k", "uploads", (), "CreateMultipartUpload"),
    ],
)
def test_route__operation(method, path, query, headers, name):
    assert find(method, path, query, headers=headers).operation.name == name


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/b/a//b", "a//b"),
        ("/b//a", "/a"),
        ("/b//", "/"),
        ("/b/a/", "a/"),
        ("/b/./a", "./a"),
        ("/b/a/../b", "a/../b"),
        ("/b/a/..", "a/.."),
        ("/b/a%2Fb", "a/b"),
        ("/b/a%252Fb", "a%2Fb"),
        ("/b/%252e%252e/x", "%2e%2e/x"),
        ("/b/a%2520b", "a%20b"),
        ("/b/a+b", "a+b"),
        ("/b/a%2Bb&c=d;e", "a+b&c=d;e"),
        ("/b/..a/...", "..a/..."),
        ("/b/a\\..\\..\\b", "a\\..\\..\\b"),
        ("/b/%01%0A%7F", "\x01\n\x7f"),
        ("/b/%F0%9F%94%92", "\N{LOCK}"),
        ("/b/\xf0\x9f\x94\x92", "\N{LOCK}"),
        ("/b/" + "k" * 1024, "k" * 1024),
        ("/b/" + "%F0%9F%94%92" * 256, "\N{LOCK}" * 256),
    ],
)
def test_route__a_key_is_exactly_what_was_sent_decoded_once(path, key):
    assert find("PUT", path).key == key


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("", "InvalidURI"),
        ("*", "InvalidURI"),
        ("b/k", "InvalidURI"),
        ("http://localhost/b/k", "InvalidURI"),
        ("/b/%", "InvalidURI"),
        ("/b/%4", "InvalidURI"),
        ("/b/%zz", "InvalidURI"),
        ("/%zz/k", "InvalidURI"),
        ("/b/%ff", "InvalidURI"),
        ("/b/\xff", "InvalidURI"),
        ("/b/%C0%AE%C0%AE/x", "InvalidURI"),
        ("/b/%ED%A0%80", "InvalidURI"),
        ("/b/%00", "InvalidURI"),
        ("/b/a\x00b", "InvalidURI"),
        ("/%00", "InvalidURI"),
        ("/b/..", "InvalidURI"),
        ("/b/../other/key", "InvalidURI"),
        ("/b/../../x", "InvalidURI"),
        ("/b/a/../../x", "InvalidURI"),
        ("/b/a//../../x", "InvalidURI"),
        ("/b/./../x", "InvalidURI"),
        ("/b/%2e%2e%2fx", "InvalidURI"),
        ("/b/" + "k" * 1025, "KeyTooLongError"),
        ("/b/" + "%C3%A9" * 513, "KeyTooLongError"),
        ("//x", "InvalidBucketName"),
        ("//", "InvalidBucketName"),
    ],
)
def test_route__c1_paths_that_are_refused(path, code):
    error = refusal("GET", path)
    assert (error.code, error.status) == (code, 400)


def test_route__an_encoded_slash_does_not_end_the_bucket_name():
    assert (find("GET", "/b%2Fk").bucket, find("GET", "/b%2Fk").key) == ("b/k", None)


def test_route__too_long_key_says_its_size_in_bytes():
    assert refusal("PUT", "/b/" + "%C3%A9" * 600).detail == {"Size": "1200", "MaxSizeAllowed": str(MAX_KEY_BYTES)}


@pytest.mark.parametrize("query", ["prefix=%ff", "prefix=%", "prefix=%00", "%zz", "a=\xff"])
def test_route__queries_that_are_refused(query):
    assert refusal("GET", "/b", query).code == "InvalidURI"


def test_route__query_is_decoded_once_with_plus_as_space():
    assert find("GET", "/b", "prefix=a+b%2Bc%2520&x-id=1&empty").query == (
        ("prefix", "a b+c%20"),
        ("x-id", "1"),
        ("empty", ""),
    )


@pytest.mark.parametrize("name", [*SUBRESOURCES, *FOREIGN, "unknown", "versionId", "uploadId", "id", "prefix"])
@pytest.mark.parametrize("value", ["", "=", "=1", "=2"])
def test_route__ceph_36264_delete_bucket_with_any_subresource_never_deletes_the_bucket(name, value):
    try:
        assert find("DELETE", "/b", name + value).operation.query
    except S3Error as error:
        assert error.code in ("MethodNotAllowed", "NotImplemented", "InvalidArgument")  # noqa: PT017


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/b", "/b/k"])
@pytest.mark.parametrize("name", [*SUBRESOURCES, *FOREIGN])
def test_route__c4_a_subresource_never_falls_through_to_the_bare_path(method, path, name):
    try:
        found = find(method, path, name, headers=[("content-type", "multipart/form-data")])
    except S3Error as error:
        assert error.code in ("MethodNotAllowed", "NotImplemented", "InvalidArgument")  # noqa: PT017
    else:
        assert name in dict(found.operation.query)


@pytest.mark.parametrize("name", FOREIGN)
def test_route__subresources_of_other_dialects_are_not_implemented(name):
    assert refusal("PUT", "/b/k", name).code == "NotImplemented"


def test_route__method_not_allowed_says_what_is():
    error = refusal("DELETE", "/b", "versioning")
    assert (error.status, dict(error.headers)) == (405, {"allow": "GET, PUT"})
    assert error.detail == {"Method": "DELETE", "ResourceType": "BUCKET"}


@pytest.mark.parametrize(
    ("method", "path", "query", "code"),
    [
        ("POST", "/", "", "MethodNotAllowed"),
        ("HEAD", "/", "", "MethodNotAllowed"),
        ("POST", "/b", "", "PreconditionFailed"),
        ("POST", "/b/k", "", "MethodNotAllowed"),
        ("PATCH", "/b/k", "", "MethodNotAllowed"),
        ("get", "/b/k", "", "MethodNotAllowed"),
        ("PATCH", "/b/k", "append", "MethodNotAllowed"),
        ("OPTIONS", "/b/k", "", "NotImplemented"),
        ("OPTIONS", "/b", "", "NotImplemented"),
        ("PUT", "/b", "unknown=1", "InvalidArgument"),
        ("POST", "/b", "delete&unknown=1", "InvalidArgument"),
        ("DELETE", "/b", "unknown", "InvalidArgument"),
        ("DELETE", "/b/k", "unknown", "InvalidArgument"),
        ("DELETE", "/b/k", "versionid=v", "InvalidArgument"),
        ("DELETE", "/b/k", "partNumber=1", "InvalidArgument"),
        ("PUT", "/b/k", "uploadId=u", "InvalidArgument"),
        ("PUT", "/b/k", "partNumber=1", "InvalidArgument"),
        ("PUT", "/b/k", "versionId=v", "InvalidArgument"),
        ("POST", "/b/k", "uploads&uploadId=u", "InvalidArgument"),
        ("GET", "/b", "list-type=3", "InvalidArgument"),
        ("GET", "/b", "acl&policy", "InvalidArgument"),
        ("DELETE", "/b/k", "tagging&acl", "InvalidArgument"),
        ("GET", "/b", "prefix=a&prefix=b", "InvalidArgument"),
        ("GET", "/b", "prefix=a&prefix=a", "InvalidArgument"),
        ("DELETE", "/b/k", "versionId=a&versionId=b", "InvalidArgument"),
    ],
)
def test_route__requests_that_are_refused(method, path, query, code):
    assert refusal(method, path, query).code == code


def test_route__conflicting_subresources_are_named():
    error = refusal("GET", "/b", "versions&acl")
    assert error.message == "Conflicting query string parameters: acl, versions"
    assert error.detail == {"ArgumentName": "ResourceType", "ArgumentValue": "acl"}


def test_route__repeated_unknown_parameters_are_nobodys_business():
    assert find("GET", "/b/k", "utm=1&utm=2").operation.name == "GetObject"


def test_route__shows_no_signature_in_a_log():
    assert "Signature" not in repr(find("GET", "/b/k", PRESIGNED))


@pytest.mark.parametrize(
    ("key", "climbs"), [("a/../b", False), ("a/../../b", True), ("..", True), ("...", False), ("a/b/../..", False)]
)
def test_climbs_above_root(key, climbs):
    assert climbs_above_root(key) is climbs


def joined(query, *headers):
    return dict(effective_headers(Headers.of(headers), query))


SIGNED = ("X-Amz-Signature", "00")


def test_effective_headers__a_presigned_parameter_counts_as_header():
    query = (SIGNED, ("x-amz-server-side-encryption", "AES256"), ("X-Amz-Meta-Name", "\N{LOCK}"), ("other", "1"))
    assert joined(query, ("host", "h")) == {
        "host": "h",
        "x-amz-server-side-encryption": "AES256",
        "x-amz-meta-name": "\N{LOCK}".encode().decode("latin-1"),
    }


@pytest.mark.parametrize(("name", "value"), [("If-None-Match", "*"), ("if-match", '"tag"')])
def test_effective_headers__a_presigned_condition_counts_as_header(name, value):
    assert joined((SIGNED, (name, value))) == {name.lower(): value}
    assert joined(((name, value),)) == {}


def test_effective_headers__nothing_of_an_unsigned_query_counts():
    assert joined((("x-amz-acl", "private"),)) == {}


@pytest.mark.parametrize(
    "name",
    [
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Security-Token",
        "X-Amz-Content-Sha256",
        "x-amz-checksum-crc32",
        "X-Amz-Checksum-Mode",
        "x-amz-sdk-checksum-algorithm",
    ],
)
def test_effective_headers__the_signature_and_checksums_do_not_count(name):
    assert joined((SIGNED, (name, "1"))) == {}


def test_effective_headers__an_equal_header_is_no_contradiction():
    assert joined((SIGNED, ("x-amz-acl", "private")), ("x-amz-acl", "private")) == {"x-amz-acl": "private"}


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ((("x-amz-acl", "private"),), (("x-amz-acl", "public-read"),)),
        ((("x-amz-acl", "private"), ("X-Amz-Acl", "public-read")), ()),
        ((("x-amz-meta-a", "1\r\nset-cookie: x"),), ()),
        ((("x-amz-meta-a", "\x00"),), ()),
    ],
)
def test_effective_headers__contradictions_and_control_characters_are_refused(query, headers):
    with pytest.raises(S3Error) as caught:
        joined((SIGNED, *query), *headers)
    assert caught.value.code == "InvalidArgument"
