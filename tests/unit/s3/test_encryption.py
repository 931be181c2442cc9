import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.errors import S3Error
from strongroom.crypto.customer_key import CustomerKey
from strongroom.metadata.records import DefaultEncryption, SseC, SseS3
from strongroom.s3.encryption import (
    ChosenSseC,
    ChosenSseS3,
    CustomerHeaders,
    EncryptionHeaders,
    choose,
    customer_key_for_read,
    customer_key_for_write,
    refuse_blocked,
    refuse_sse_header,
    response_members,
)

SSE = "x-amz-server-side-encryption"
KEY = bytes(range(32))
INCOMPATIBLE = "Server Side Encryption with Customer provided key is incompatible with the encryption method specified"
UNSUPPORTED = "The encryption method specified is not supported"
NEEDS_KMS = (
    "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms"
)
NEEDS = "Requests specifying Server Side Encryption with Customer provided keys must provide "
WRONG_MD5 = "The calculated MD5 hash of the key did not match the hash that was provided."
WRONG_KEY = "The secret key was invalid for the specified algorithm."
INSECURE = (
    "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection."
)
BAD_ALGORITHM = "The Encryption request you specified is not valid. Supported value: AES256."


def b64(data):
    return base64.b64encode(data).decode()


def c3(material=KEY, **changes):
    """The three customer headers for a key, with `changes`."""
    given = {"algorithm": "AES256", "key": b64(material), "key_md5": b64(hashlib.md5(material).digest())}
    return CustomerHeaders(**(given | changes))


def chosen(customer=CustomerHeaders(), default=None, *, blocks_sse_c=False, secure=True, **headers):  # noqa: B008
    return choose(
        EncryptionHeaders(customer=customer, **headers),
        default=default,
        blocks_sse_c=blocks_sse_c,
        secure=secure,
        principal="arn:aws:iam::111122223333:root",
        bucket="bucket",
        key="some/key",
    )


def refusal(function, *args, **kwargs):
    with pytest.raises(S3Error) as caught:
        function(*args, **kwargs)
    error = caught.value
    return error.status, error.code, error.message, dict(error.detail)


AES256 = DefaultEncryption(algorithm="AES256", bucket_key_enabled=True)
KMS = DefaultEncryption(algorithm="aws:kms", kms_key_id="k")
DSSE = DefaultEncryption(algorithm="aws:kms:dsse")


@pytest.mark.parametrize(
    ("headers", "default"),
    [
        ({}, None),
        ({}, AES256),
        ({"sse": "AES256"}, None),
        ({"sse": "AES256"}, AES256),
        ({"sse": "AES256"}, KMS),
        ({"sse": "AES256", "bucket_key_enabled": True}, DSSE),
        ({"bucket_key_enabled": False}, None),
    ],
)
def test_sse_s3(headers, default):
    assert chosen(default=default, **headers) == ChosenSseS3()
    assert chosen(default=default, secure=False, blocks_sse_c=True, **headers) == ChosenSseS3()


@pytest.mark.parametrize("default", [None, AES256, KMS, DSSE])
def test_customer_key_beats_the_default_of_the_bucket(default):
    choice = chosen(c3(), default)
    assert isinstance(choice, ChosenSseC)
    assert choice.customer_key.material == bytearray(KEY)


@pytest.mark.parametrize(
    ("headers", "default"),
    [
        ({"sse": "aws:kms"}, None),
        ({"sse": "aws:kms:dsse"}, None),
        ({"sse": "aws:kms", "kms_key_id": "k", "context": "e30=", "bucket_key_enabled": True}, AES256),
        ({}, KMS),
        ({}, DSSE),
    ],
)
def test_kms_methods_are_not_implemented_yet(headers, default):
    status, code, _, detail = refusal(chosen, default=default, **headers)
    assert (status, code, detail) == (501, "NotImplemented", {"Header": SSE})


@pytest.mark.parametrize(
    "sse", ["aes256", "AES-256", "AES192", "true", "aes:kms", "", "AWS:KMS", "aws:fsx", "aws:backup", "AES256,AES256"]
)
def test_unknown_method(sse):
    assert refusal(chosen, sse=sse) == (
        400,
        "InvalidArgument",
        UNSUPPORTED,
        {"ArgumentName": SSE, "ArgumentValue": sse},
    )


@pytest.mark.parametrize("default", [None, AES256, KMS])
@pytest.mark.parametrize("sse", [None, "AES256"])
@pytest.mark.parametrize("given_header", [{"kms_key_id": "k"}, {"context": "e30="}, {"kms_key_id": ""}])
def test_kms_headers_without_a_kms_method(default, sse, given_header):
    assert refusal(chosen, default=default, sse=sse, **given_header) == (
        400,
        "InvalidArgument",
        NEEDS_KMS,
        {"ArgumentName": SSE},
    )


@pytest.mark.parametrize("customer", [c3(), CustomerHeaders(algorithm="KMS"), CustomerHeaders(key="x")])
@pytest.mark.parametrize("sse", ["AES256", "aws:kms", "aws:kms:dsse", "nonsense", ""])
def test_both_kinds_of_key_clash_before_anything_is_looked_at(customer, sse):
    assert refusal(chosen, customer, sse=sse, secure=False) == (
        400,
        "InvalidArgument",
        INCOMPATIBLE,
        {"ArgumentName": SSE, "ArgumentValue": sse},
    )


SHORT, LONG = KEY[:31], base64.b64encode(KEY)  # 44 bytes: what botocore makes of a key that was base64 already

# What is wrong with the three headers, and the answer on a write; in the order of the checks.
WRONG = [
    (c3(algorithm=None), "InvalidArgument", NEEDS + "a valid encryption algorithm.", None),
    (CustomerHeaders(key_md5="x"), "InvalidArgument", NEEDS + "a valid encryption algorithm.", None),
    (c3(algorithm="KMS"), "InvalidEncryptionAlgorithmError", BAD_ALGORITHM, "KMS"),
    (c3(algorithm="aes256"), "InvalidEncryptionAlgorithmError", BAD_ALGORITHM, "aes256"),
    (c3(algorithm=""), "InvalidEncryptionAlgorithmError", BAD_ALGORITHM, ""),
    (c3(algorithm="KMS", key=None), "InvalidEncryptionAlgorithmError", BAD_ALGORITHM, "KMS"),
    (c3(key=None), "InvalidArgument", NEEDS + "an appropriate secret key.", None),
    (c3(key=None, key_md5=None), "InvalidArgument", NEEDS + "an appropriate secret key.", None),
    (c3(key_md5=None), "InvalidArgument", NEEDS + "the client calculated MD5 of the secret key.", None),
    (c3(key_md5=b64(hashlib.md5(b"other").digest())), "InvalidArgument", WRONG_MD5, None),
    (c3(key_md5=""), "InvalidArgument", WRONG_MD5, None),
    (c3(key_md5="é€"), "InvalidArgument", WRONG_MD5, None),
    (c3(key_md5=hashlib.md5(KEY).hexdigest()), "InvalidArgument", WRONG_MD5, None),
    (c3(SHORT, key_md5="x"), "InvalidArgument", WRONG_MD5, None),  # the MD5 comes before the length
    (c3(key="not base64!"), "InvalidArgument", WRONG_KEY, None),
    (c3(key=b64(KEY)[:-1]), "InvalidArgument", WRONG_KEY, None),
    (c3(key=b64(KEY)[:20] + "!" + b64(KEY)[20:]), "InvalidArgument", WRONG_KEY, None),
    (c3(key=b64(KEY) + "é€"), "InvalidArgument", WRONG_KEY, None),
]
BOTH = pytest.mark.parametrize("read", [customer_key_for_write, customer_key_for_read])


@pytest.mark.parametrize(("customer", "code", "message", "value"), WRONG)
@BOTH
def test_wrong_customer_headers(customer, code, message, value, read):
    detail = {"ArgumentName": SSE} | ({} if value is None else {"ArgumentValue": value})
    assert refusal(read, customer, secure=True) == (400, code, message, detail)


@pytest.mark.parametrize(("customer", "code", "message", "value"), WRONG)
def test_wrong_customer_headers_of_an_upload(customer, code, message, value):
    assert refusal(chosen, customer)[1:3] == (code, message)


@pytest.mark.parametrize("material", [b"", SHORT, KEY + b"\0", LONG])
def test_key_of_another_length_is_told_on_a_write_only(material):
    assert refusal(customer_key_for_write, c3(material), secure=True) == (
        400,
        "InvalidArgument",
        WRONG_KEY,
        {"ArgumentName": SSE},
    )
    stand_in = customer_key_for_read(c3(material), secure=True)
    assert stand_in is not None
    assert bytes(stand_in.material) not in {material, material[:32], KEY, bytes(32)}
    another = customer_key_for_read(c3(material), secure=True)
    assert another is not None
    assert not stand_in.same_as(another)


@BOTH
def test_good_customer_headers(read):
    key = read(c3(), secure=True)
    assert key.same_as(CustomerKey(bytearray(KEY)))
    assert read(CustomerHeaders(), secure=False) is None


@BOTH
@pytest.mark.parametrize("customer", [c3(), CustomerHeaders(algorithm="KMS"), CustomerHeaders(key="x")])
def test_insecure_connection_is_refused_before_the_headers_are_read(customer, read):
    assert refusal(read, customer, secure=False) == (400, "InvalidArgument", INSECURE, {"ArgumentName": SSE})


@pytest.mark.parametrize("customer", [c3(), c3(algorithm="KMS"), CustomerHeaders(key=""), CustomerHeaders(key_md5="x")])
@pytest.mark.parametrize("sse", [None, "AES256"])
def test_blocked_sse_c_is_refused_before_anything_else(customer, sse):
    status, code, message, _ = refusal(chosen, customer, blocks_sse_c=True, secure=False, sse=sse)
    assert (status, code) == (403, "AccessDenied")
    assert message == (
        "User: arn:aws:iam::111122223333:root is not authorized to perform: s3:PutObject on resource: "
        '"arn:aws:s3:::bucket/some/key" because this bucket has blocked upload requests that specify Server Side '
        "Encryption with Customer provided keys (SSE-C). Please specify a different server-side encryption type"
    )


def test_block_leaves_other_uploads_alone():
    refuse_blocked(CustomerHeaders(), blocks_sse_c=True, principal="p", bucket="b", key="k")
    refuse_blocked(c3(), blocks_sse_c=False, principal="p", bucket="b", key="k")


@pytest.mark.parametrize("sse", ["AES256", "aws:kms", ""])
def test_sse_header_where_it_does_not_belong(sse):
    assert refusal(refuse_sse_header, sse) == (
        400,
        "InvalidArgument",
        "x-amz-server-side-encryption header is not supported for this operation.",
        {"ArgumentName": SSE, "ArgumentValue": sse},
    )


def test_no_sse_header():
    refuse_sse_header(None)


def test_response_members():
    assert response_members(SseS3(sealed_key=b"s")) == {"ServerSideEncryption": "AES256"}
    assert response_members(SseC(sealed_key=b"s"), "md5") == {
        "SSECustomerAlgorithm": "AES256",
        "SSECustomerKeyMD5": "md5",
    }
    assert response_members(SseC(sealed_key=b"s")) == {"SSECustomerAlgorithm": "AES256"}


def test_headers_of_an_input():
    members = {
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "k",
        "SSEKMSEncryptionContext": "c",
        "BucketKeyEnabled": True,
        "SSECustomerAlgorithm": "AES256",
        "SSECustomerKey": "secret",
        "SSECustomerKeyMD5": "digest",
    }
    customer = CustomerHeaders(algorithm="AES256", key="secret", key_md5="digest")
    assert EncryptionHeaders.of(members) == EncryptionHeaders(
        sse="aws:kms", kms_key_id="k", context="c", bucket_key_enabled=True, customer=customer
    )
    source = {f"CopySource{name}": value for name, value in members.items()}
    assert CustomerHeaders.of(source, "CopySource") == customer
    assert EncryptionHeaders.of({}) == EncryptionHeaders()
    assert not CustomerHeaders.of({}).given


def test_g1_no_key_shows_in_a_repr_or_an_error():
    headers = EncryptionHeaders(customer=c3(), kms_key_id="secret", context="secret")
    shown = repr(headers) + repr(headers.customer) + repr(chosen(c3()))
    assert b64(KEY) not in shown
    assert "secret" not in shown
    assert b64(hashlib.md5(KEY).digest()) not in shown
    for customer, *_ in WRONG:
        with pytest.raises(S3Error) as caught:
            customer_key_for_write(customer, secure=True)
        told = f"{caught.value!s} {caught.value.message} {dict(caught.value.detail)}"
        assert b64(KEY)[:20] not in told
        assert b64(hashlib.md5(KEY).digest())[:10] not in told
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


TEXT = st.none() | st.text(max_size=50)


@given(customer=st.builds(CustomerHeaders, algorithm=TEXT | st.just("AES256"), key=TEXT, key_md5=TEXT))
def test_garbage_is_accepted_or_refused_and_nothing_else(customer):
    for read in (customer_key_for_write, customer_key_for_read):
        try:
            outcome = (read(customer, secure=True) is not None) is customer.given
        except S3Error as error:
            outcome = error.status == 400
        assert outcome
