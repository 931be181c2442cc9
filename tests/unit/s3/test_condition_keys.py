from datetime import timedelta
from typing import Any

import pytest

from strongroom.aws.http import Headers
from strongroom.identity.call import Sought
from strongroom.metadata.records import SseC, SseS3
from strongroom.s3.condition_keys import request_conditions, upload_conditions

ALWAYS = {
    "s3:authtype": ("REST-HEADER",),
    "s3:signatureversion": ("AWS4-HMAC-SHA256",),
    "s3:resourceaccount": ("000000000000",),
}


def conditions(headers: dict[str, str], operation: str = "GetObject", **input: Any) -> dict[str, Any]:
    sought = Sought(
        operation=operation,
        input=input,
        headers=Headers.of(headers.items()),
        account_id="000000000000",
        auth_type="REST-HEADER",
    )
    found = dict(request_conditions(sought))
    for name, value in ALWAYS.items():
        assert found.pop(name) == value
    return found


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("x-amz-server-side-encryption", "s3:x-amz-server-side-encryption"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "s3:x-amz-server-side-encryption-aws-kms-key-id"),
        (
            "x-amz-server-side-encryption-customer-algorithm",
            "s3:x-amz-server-side-encryption-customer-algorithm",
        ),
        ("x-amz-metadata-directive", "s3:x-amz-metadata-directive"),
        ("x-amz-storage-class", "s3:x-amz-storage-class"),
        ("x-amz-content-sha256", "s3:x-amz-content-sha256"),
        ("x-amz-acl", "s3:x-amz-acl"),
        ("x-amz-grant-read", "s3:x-amz-grant-read"),
        ("x-amz-object-lock-mode", "s3:object-lock-mode"),
        ("if-match", "s3:if-match"),
        ("if-none-match", "s3:if-none-match"),
        ("referer", "aws:referer"),
    ],
)
@pytest.mark.parametrize("value", ["AES256", "aes256", "", "anything *", "aws:kms"])
def test_a_header_fills_its_key_exactly_as_sent(header, key, value) -> None:
    assert conditions({header: value}) == {key: (value,)}
    assert conditions({}) == {}


@pytest.mark.parametrize(
    "name",
    ["userid", "username", "groups", "aws:userid", "x-amz-userid", "aws-principalarn", "x-amz-meta-s3-prefix", "s3-prefix",
     "jwt", "x-forwarded-for", "aws:sourceip", "x-amz-server-side-encryption-customer-key",
     "x-amz-server-side-encryption-context"],
)  # fmt: skip
def test_no_other_header_fills_a_key(name) -> None:
    """rustfs GHSA-6r96-hmgc-726c: headers that overwrote what the server knew."""
    assert conditions({name: "x"}) == {}


def test_a_repeated_header_reads_as_one_that_no_policy_names() -> None:
    headers = Headers.of([("x-amz-storage-class", "STANDARD"), ("x-amz-storage-class", "GLACIER")])
    sought = Sought(operation="PutObject", input={}, headers=headers, account_id="0", auth_type="POST")
    assert request_conditions(sought)["s3:x-amz-storage-class"] == ("STANDARD,GLACIER",)


@pytest.mark.parametrize(
    "header", ["source/a/key", "/source/a/key", "source%2Fa%2Fkey", "/source/a%2fkey", "source/a/key?versionId=v"]
)
def test_a_copy_source_has_one_spelling(header) -> None:
    assert conditions({}, CopySource=header) == {"s3:x-amz-copy-source": ("source/a/key",)}


def test_a_copy_source_that_is_none_is_shown_as_it_is() -> None:
    assert conditions({}, CopySource="no-slash") == {"s3:x-amz-copy-source": ("no-slash",)}


def test_tags_of_the_header_fill_their_keys() -> None:
    assert conditions({}, Tagging="Team=Red%20Hat&x=") == {
        "s3:requestobjecttag/team": ("Red Hat",),
        "s3:requestobjecttag/x": ("",),
        "s3:requestobjecttagkeys": ("Team", "x"),
    }
    assert conditions({}, Tagging="a=1&A=2")["s3:requestobjecttag/a"] == ("1", "2")
    assert conditions({}, Tagging="a=1&a=2") == {}  # the handler refuses it


def test_text_beyond_ascii_is_compared_as_text() -> None:
    assert conditions({"x-amz-acl": "ä".encode().decode("latin-1")}) == {"s3:x-amz-acl": ("ä",)}
    assert conditions({"x-amz-acl": "\xe4"}) == {"s3:x-amz-acl": ("\xe4",)}


@pytest.mark.parametrize(
    ("operation", "creates"),
    [("PutObject", "true"), ("CompleteMultipartUpload", "true"), ("CopyObject", "true"), ("UploadPart", "false"),
     ("CreateMultipartUpload", "false"), ("UploadPartCopy", "false")],
)  # fmt: skip
def test_object_creation(operation, creates) -> None:
    assert conditions({}, operation) == {"s3:objectcreationoperation": (creates,)}


def test_the_age_of_a_presigned_request_is_in_milliseconds() -> None:
    sought = Sought(
        operation="GetObject",
        input={},
        headers=Headers(),
        account_id="0",
        auth_type="REST-QUERY-STRING",
        signature_age=timedelta(seconds=1.5),
    )
    found = request_conditions(sought)
    assert (found["s3:authtype"], found["s3:signatureage"]) == (("REST-QUERY-STRING",), ("1500",))


def test_the_encryption_of_an_upload() -> None:
    assert upload_conditions(SseS3(sealed_key=b"")) == {"s3:x-amz-server-side-encryption": ("AES256",)}
    assert upload_conditions(SseC(sealed_key=b"")) == {}
