import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.errors import S3Error
from strongroom.crypto.secret_key import SecretKey
from strongroom.metadata.records import DefaultEncryption, Dsse, SseC, SseKms, SseKmsBucketKey, SseS3
from strongroom.s3.encryption import (
    ChosenKms,
    ChosenSseC,
    ChosenSseS3,
    CustomerHeaders,
    EncryptionHeaders,
    choose,
    customer_key_for_read,
    customer_key_for_write,
    refuse_blocked,
    refuse_kms_headers,
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


def chosen(customer=CustomerHeaders(), default=None, *, blocks_sse_c=False, secure=True, signed=True, **headers):  # noqa: B008
    return choose(
        EncryptionHeaders(customer=customer, **headers),
        default=default,
        blocks_sse_c=blocks_sse_c,
        secure=secure,
        signed=signed,
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


MANAGED = "alias/aws/s3"
KMS_WITH_BUCKET_KEY = DefaultEncryption(algorithm="aws:kms", kms_key_id="k", bucket_key_enabled=True)
CONTEXT = {"context": b64(b'{"b": "2", "a": "1"}')}
PAIRS = (("a", "1"), ("b", "2"))


def kms(key_id=MANAGED, **more):
    return ChosenKms(key_id=key_id, **more)


# Facts 1.3: the request's method before the bucket's, with its own key or the managed one; a bucket key as the bucket
# says unless the request does.
@pytest.mark.parametrize(
    ("headers", "default", "choice"),
    [
        ({"sse": "aws:kms"}, None, kms()),
        ({"sse": "aws:kms"}, AES256, kms(bucket_key=True)),
        ({"sse": "aws:kms"}, KMS, kms()),
        ({"sse": "aws:kms"}, DSSE, kms()),
        ({"sse": "aws:kms"}, KMS_WITH_BUCKET_KEY, kms(bucket_key=True)),
        ({"sse": "aws:kms", "kms_key_id": ""}, KMS, kms()),
        ({"sse": "aws:kms", "kms_key_id": "other"}, KMS_WITH_BUCKET_KEY, kms("other", bucket_key=True)),
        ({"sse": "aws:kms", "kms_key_id": "other"}, None, kms("other")),
        ({"sse": "aws:kms", "bucket_key_enabled": True}, None, kms(bucket_key=True)),
        ({"sse": "aws:kms", "bucket_key_enabled": True}, KMS, kms(bucket_key=True)),
        ({"sse": "aws:kms", "bucket_key_enabled": False}, KMS_WITH_BUCKET_KEY, kms()),
        ({"sse": "aws:kms", **CONTEXT}, None, kms(context=PAIRS)),
        ({}, KMS, kms("k")),
        ({}, KMS_WITH_BUCKET_KEY, kms("k", bucket_key=True)),
        ({"bucket_key_enabled": False}, KMS_WITH_BUCKET_KEY, kms("k")),
        ({"bucket_key_enabled": True}, KMS, kms("k", bucket_key=True)),
        ({}, DefaultEncryption(algorithm="aws:kms"), kms()),
        ({}, DSSE, kms(dsse=True)),
        ({}, DefaultEncryption(algorithm="aws:kms:dsse", bucket_key_enabled=True), kms(dsse=True)),
        ({"sse": "aws:kms:dsse"}, None, kms(dsse=True)),
        ({"sse": "aws:kms:dsse"}, KMS_WITH_BUCKET_KEY, kms(dsse=True)),
        ({"sse": "aws:kms:dsse", "kms_key_id": "other", **CONTEXT}, KMS, kms("other", context=PAIRS, dsse=True)),
        ({"sse": "aws:kms:dsse", "bucket_key_enabled": False}, None, kms(dsse=True)),
    ],
)
def test_a_key_of_a_key_service(headers, default, choice):
    assert chosen(default=default, **headers) == choice
    assert chosen(default=default, blocks_sse_c=True, **headers) == choice


def test_dsse_with_a_bucket_key_is_refused():
    status, code, _, detail = refusal(chosen, sse="aws:kms:dsse", bucket_key_enabled=True)
    assert (status, code, detail["ArgumentName"]) == (400, "InvalidArgument", f"{SSE}-bucket-key-enabled")


@pytest.mark.parametrize(
    ("headers", "default"), [({"sse": "aws:kms"}, None), ({"sse": "aws:kms:dsse"}, None), ({}, KMS), ({}, DSSE)]
)
def test_a_key_service_wants_a_secure_connection_and_a_signature(headers, default):
    status, code, message, _ = refusal(chosen, default=default, secure=False, **headers)
    assert (status, code) == (400, "InvalidArgument")
    assert message == (
        "Requests specifying Server Side Encryption with AWS KMS managed keys must be made over a secure connection."
    )
    assert refusal(chosen, default=default, signed=False, secure=False, **headers) == (
        400,
        "InvalidArgument",
        "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4.",
        {"ArgumentName": "Authorization", "ArgumentValue": "null"},
    )


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
    assert key.same_as(SecretKey(bytearray(KEY)))
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
    refuse_kms_headers(named=None)


def test_a_header_that_goes_with_it_where_it_does_not_belong():
    name = f"{SSE}-aws-kms-key-id"
    message = f"{name} header is not supported for this operation."
    assert refusal(refuse_kms_headers, named=name) == (400, "InvalidArgument", message, {"ArgumentName": name})


def test_response_members():
    assert response_members(SseS3(sealed_key=b"s")) == {"ServerSideEncryption": "AES256"}
    assert response_members(SseC(sealed_key=b"s"), "md5") == {
        "SSECustomerAlgorithm": "AES256",
        "SSECustomerKeyMD5": "md5",
    }
    assert response_members(SseC(sealed_key=b"s")) == {"SSECustomerAlgorithm": "AES256"}
    inner = SseKms(key_arn="arn", material_id=None, context=PAIRS, ciphertext_blob=b"s")
    assert response_members(inner) == {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn"}
    assert response_members(SseKmsBucketKey(key_arn="arn", bucket_key_id=b"i", sealed_key=b"s")) == {
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "arn",
        "BucketKeyEnabled": True,
    }
    assert response_members(Dsse(inner=inner, sealed_key=b"o")) == {
        "ServerSideEncryption": "aws:kms:dsse",
        "SSEKMSKeyId": "arn",
    }


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
    shown = (
        repr(headers) + repr(headers.customer) + repr(chosen(c3())) + repr(chosen(sse="aws:kms", kms_key_id="secret"))
    )
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
