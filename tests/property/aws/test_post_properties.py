"""Browser uploads: botocore signs the policy, any split of the form gives the same fields, and nothing crashes."""

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime
from unittest import mock

import botocore.session
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.errors import S3Error
from strongroom.aws.post_form import FormReader
from strongroom.aws.post_policy import parse_post_authorization, verify_policy
from tests.aws_chunks import SCOPE, sign

NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
SECRET = "secret"
CONTENT_TYPE = "multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def client():
    return botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:9000",
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key=SECRET,
        config=Config(signature_version="s3v4"),
    )


@given(
    key=st.text(st.characters(codec="utf-8", exclude_characters="$"), min_size=1, max_size=20),
    meta=st.dictionaries(st.text("abcdef-", min_size=1, max_size=5), st.text("abc =/,", max_size=9), max_size=3),
    data=st.binary(max_size=100),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
)
def test_botocore_signs_we_verify(client, key, meta, data, cuts):
    extra = {f"x-amz-meta-{name}": value for name, value in meta.items()}
    with (
        mock.patch("botocore.auth.get_current_datetime", return_value=NOW),
        mock.patch("botocore.signers.get_current_datetime", return_value=NOW),
    ):
        post = client.generate_presigned_post("bucket", key, extra, [{name: value} for name, value in extra.items()])
    body = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in post["fields"].items()
    )
    body += b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + data + b"\r\n--b--\r\n"
    if b"\r\n--b" in data:
        return
    cuts = sorted(cut for cut in cuts if cut <= len(body))
    reader = FormReader(CONTENT_TYPE)
    read = b"".join(reader.feed(body[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True))
    reader.finish()
    assert read == data
    assert reader.fields == post["fields"]
    claim = parse_post_authorization(reader.fields)
    assert claim is not None
    result = verify_policy(claim, SECRET, reader.fields, bucket="bucket", now=NOW, region="us-east-1")
    assert result.access_key_id == "AKIAEXAMPLE"
    for changed in ({"key": key + "x"}, {"x-amz-meta-new": "1"}, {"x-amz-date": "20260314T150927Z"}):
        fields = {**reader.fields, **changed}
        claim = parse_post_authorization(fields)
        assert claim is not None
        with pytest.raises(S3Error):
            verify_policy(claim, SECRET, fields, bucket="bucket", now=NOW, region="us-east-1")


@given(body=st.lists(st.sampled_from([b"--b", b"\r\n", b"--", b"Content-Disposition: form-data; name=", b"file", b'"', b";",
                                      b"key", b":", b"\xff", b"\x00", b"x" * 30, b"filename=", b"\r", b"\n"]), max_size=40))  # fmt: skip
def test_forms_raise_nothing_but_s3_errors(body):
    reader = FormReader(CONTENT_TYPE)
    with suppress(S3Error):
        for piece in body:
            reader.feed(piece)
        reader.finish()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["eq", "starts-with", "content-length-range", "$key", "key", "bucket"]),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(
    document=st.one_of(
        json_values,
        st.fixed_dictionaries({"expiration": st.sampled_from(["2026-03-15T00:00:00Z", "x"]) | json_values, "conditions": json_values}),
    ),
    raw=st.none() | st.text(max_size=20),
)  # fmt: skip
def test_policies_raise_nothing_but_s3_errors(document, raw):
    policy = raw if raw is not None else base64.b64encode(json.dumps(document).encode()).decode()
    fields = {
        "key": "a",
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"AKIAEXAMPLE/{SCOPE.replace('20130524', '20260314')}",
        "x-amz-date": "20260314T150926Z",
        "policy": policy,
        "x-amz-signature": sign(policy, secret=SECRET, scope=SCOPE.replace("20130524", "20260314")),
    }
    claim = parse_post_authorization(fields)
    assert claim is not None
    with pytest.raises(S3Error) as caught:
        verify_policy(claim, SECRET, fields, bucket="bucket", now=NOW, region="us-east-1")
    assert caught.value.status in (400, 403)
