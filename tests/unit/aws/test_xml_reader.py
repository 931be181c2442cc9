"""XML bodies: what is read, and everything that is MalformedXML. Bombs are refused before they cost anything."""

from datetime import UTC, datetime

import pytest

from strongroom.aws.errors import S3Error
from strongroom.aws.model import load_s3_model
from strongroom.aws.rest_xml import parse_body
from strongroom.aws.xml_reader import MAX_DEPTH, MAX_TAGS

OPERATIONS = load_s3_model().operations
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))


def parse(operation, document):
    return parse_body(OPERATIONS[operation], document if isinstance(document, bytes) else document.encode())


def is_malformed(operation, document):
    with pytest.raises(S3Error) as caught:
        parse(operation, document)
    return (caught.value.code, caught.value.status) == ("MalformedXML", 400)


def tagging(inside, attributes=""):
    return f"<Tagging {attributes}><TagSet>{inside}</TagSet></Tagging>"


TAG = "<Tag><Key>k</Key><Value>v</Value></Tag>"
TAGS = {"Tagging": {"TagSet": [{"Key": "k", "Value": "v"}]}}


@pytest.mark.parametrize(
    "document",
    [
        tagging(TAG),
        tagging(TAG, NAMESPACE),
        tagging(TAG, NAMESPACE.replace('"', "'")),
        tagging(TAG, 'xmlns="http://doc.s3.amazonaws.com/2006-03-01"'),
        f'<s:Tagging xmlns:s="http://s3.amazonaws.com/doc/2006-03-01/"><s:TagSet>{TAG}</s:TagSet></s:Tagging>',
        '<?xml version="1.0" encoding="UTF-8"?>\n' + tagging(f"\n  {TAG}\n"),
        '<?xml version="1.0" encoding="utf-8" standalone="yes"?>' + tagging(TAG),
        "\ufeff" + tagging(TAG),
        tagging(f"<!-- a comment -->{TAG}<?an instruction?>"),
        tagging(TAG.replace("v", "<![CDATA[v]]>")),
        tagging(TAG.replace("v<", "&#118;<")),
        tagging(TAG, 'xsi:schemaLocation="a b" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'),
        tagging(TAG + "<Unknown><Deep>x</Deep></Unknown>"),
        tagging(TAG.replace("<Key>", "<New>1</New><Key>")),
    ],
)
def test_read__forms_of_one_document(document):
    assert parse("PutBucketTagging", document) == TAGS


def test_read__white_space_in_text_is_text():
    document = tagging("<Tag><Key> a\tb </Key><Value>\n</Value></Tag>")
    assert parse("PutBucketTagging", document)["Tagging"]["TagSet"] == [{"Key": " a\tb ", "Value": "\n"}]


def test_read__an_encoded_carriage_return_survives():
    document = "<Delete><Object><Key>a&#xD;&#xA;&lt;&amp;</Key></Object></Delete>"
    assert parse("DeleteObjects", document) == {"Delete": {"Objects": [{"Key": "a\r\n<&"}]}}


def test_read__types():
    document = (
        "<Delete><Quiet>\n TRUE </Quiet><Object><Key>a</Key><ETag>e</ETag><Size> 12\n</Size>"
        "<LastModifiedTime>Fri, 02 Jan 2026 03:04:05 GMT</LastModifiedTime></Object><Object><Key/></Object></Delete>"
    )
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    first = {"Key": "a", "ETag": "e", "Size": 12, "LastModifiedTime": when}
    assert parse("DeleteObjects", document) == {"Delete": {"Quiet": True, "Objects": [first, {"Key": ""}]}}


def test_read__an_attribute_of_another_namespace():
    document = (
        "<AccessControlPolicy><AccessControlList><Grant>"
        '<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>i</ID></Grantee>'
        "<Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>"
    )
    grant = {"Grantee": {"Type": "CanonicalUser", "ID": "i"}, "Permission": "READ"}
    assert parse("PutBucketAcl", document) == {"AccessControlPolicy": {"Grants": [grant]}}
    assert is_malformed("PutBucketAcl", document.replace("CanonicalUser", "Anybody"))


def test_read__any_region_is_the_handlers_to_judge():
    document = "<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint></CreateBucketConfiguration>"
    assert parse("CreateBucket", document) == {"CreateBucketConfiguration": {"LocationConstraint": "mars"}}


def test_read__an_empty_body():
    assert parse("CreateBucket", b"") == {}
    with pytest.raises(S3Error) as caught:
        parse("PutBucketTagging", b"")
    assert caught.value.code == "MissingRequestBodyError"


def test_read__a_policy_is_text():
    assert parse("PutBucketPolicy", b'{"a": "\xc3\xa9"}') == {"Policy": '{"a": "\xe9"}'}
    with pytest.raises(S3Error) as caught:
        parse("PutBucketPolicy", b"\xff")
    assert caught.value.code == "MalformedPolicy"


@pytest.mark.parametrize(
    "document",
    [
        " ",
        "text",
        "<Tagging>",
        tagging(TAG) + "<Tagging/>",
        "<Delete/>",
        tagging(TAG, 'xmlns="http://example.com/"'),
        "<Tagging/>",
        "<Tagging><TagSet/><TagSet/></Tagging>",
        f"<Tagging>{TAG}</Tagging>",
        tagging(f"text{TAG}"),
        tagging(f"{TAG}text"),
        tagging("<Tag><Key>k</Key></Tag>"),
        tagging("<Tag><Key>k</Key><Key>l</Key><Value/></Tag>"),
        tagging("<Tag><Key>k<b/></Key><Value/></Tag>"),
        tagging("<Tag>text<Key>k</Key><Value/></Tag>"),
        tagging("<Tag><Key>k</Key>text<Value/></Tag>"),
        tagging("<Tag><Key>&#x1;</Key><Value/></Tag>"),
        tagging("<Tag><Key>&#0;</Key><Value/></Tag>"),
        tagging("<Tag><Key>\x01</Key><Value/></Tag>"),
        tagging("<Tag><Key>&undefined;</Key><Value/></Tag>"),
        tagging(TAG).encode() + b"\x00",
        tagging("<Tag><Key>k</Key><Value>").encode() + b"\xff" + b"</Value></Tag></TagSet></Tagging>",
        ('<?xml version="1.0" encoding="ISO-8859-1"?>' + tagging("<Tag><Key>\xe9</Key><Value/></Tag>")).encode(
            "latin-1"
        ),
        tagging(TAG).encode("utf-16"),
        tagging(TAG).encode("utf-16-le"),
        tagging(TAG).encode("utf-32"),
        ('<?xml version="1.0" encoding="UTF-16"?>' + tagging(TAG)).encode("utf-16"),
    ],
)
def test_read__malformed_tagging(document):
    assert is_malformed("PutBucketTagging", document)


@pytest.mark.parametrize(
    ("operation", "document"),
    [
        ("DeleteObjects", "<Delete/>"),
        ("DeleteObjects", "<Delete><Object/></Delete>"),
        ("DeleteObjects", "<Delete><Quiet>maybe</Quiet><Object><Key>k</Key></Object></Delete>"),
        ("DeleteObjects", "<Delete><Object><Key>k</Key><Size>1.5</Size></Object></Delete>"),
        ("DeleteObjects", "<Delete><Object><Key>k</Key><Size>\u0661</Size></Object></Delete>"),
        ("DeleteObjects", f"<Delete><Object><Key>k</Key><Size>{2**63}</Size></Object></Delete>"),
        ("DeleteObjects", "<Delete><Object><Key>k</Key><LastModifiedTime>x</LastModifiedTime></Object></Delete>"),
        ("CompleteMultipartUpload", "<CompleteMultipartUpload><Part><PartNumber/></Part></CompleteMultipartUpload>"),
        ("PutBucketVersioning", "<VersioningConfiguration><Status>enabled</Status></VersioningConfiguration>"),
        ("PutBucketEncryption", "<ServerSideEncryptionConfiguration/>"),
    ],
)
def test_read__malformed(operation, document):
    assert is_malformed(operation, document)


@pytest.mark.parametrize(
    "prologue",
    [
        "<!DOCTYPE Tagging>",
        '<!DOCTYPE Tagging SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE Tagging PUBLIC "x" "http://127.0.0.1/x.dtd">',
        '<!DOCTYPE Tagging [<!ENTITY x "y">]>',
        '<!DOCTYPE Tagging [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        f'<!DOCTYPE Tagging [<!ENTITY l0 "ha">{LAUGHS}]>',
        '<!DOCTYPE Tagging [<!ENTITY % p SYSTEM "http://127.0.0.1/p"> %p;]>',
    ],
)
@pytest.mark.parametrize("value", ["v", "&x;", "&l9;"])
def test_read__i5_no_document_type_no_entities_no_bombs(prologue, value):
    assert is_malformed("PutBucketTagging", prologue + tagging(f"<Tag><Key>k</Key><Value>{value}</Value></Tag>"))


@pytest.mark.parametrize("depth", [MAX_DEPTH, 200_000 // 2 - 10])
def test_read__too_deep(depth):
    assert is_malformed("PutBucketTagging", tagging(TAG + "<a>" * depth + "</a>" * depth))


def test_read__too_many_elements():
    assert is_malformed("PutBucketTagging", tagging(TAG + "<a/>" * MAX_TAGS))


def test_read__the_longest_completion_of_a_multipart_upload():
    part = (
        '<Part><PartNumber>{}</PartNumber><ETag>"0123456789abcdef"</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>'
    )
    parts = "".join(part.format(number) for number in range(1, 10_001))
    parsed = parse("CompleteMultipartUpload", f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
    assert [each["PartNumber"] for each in parsed["MultipartUpload"]["Parts"]] == list(range(1, 10_001))
