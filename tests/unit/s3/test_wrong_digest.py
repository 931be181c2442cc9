"""A wrong Content-MD5: what the refusal tells of the plaintext, by whose key would have protected it."""

import base64

import pytest

from tests.kms_calls import refused, with_world

CONTENT = b"plaintext"
WRONG = base64.b64encode(bytes(16)).decode()


@pytest.mark.parametrize(
    ("mode", "shown"),
    [("SSE-S3", True), ("KMS", False), ("bucket key", False), ("DSSE", False), ("SSE-C", False)],
)
def test_its_md5_is_told_under_sse_s3_alone(tmp_path, key_server, mode, shown):
    async def work(world):
        sending = world.worker.sending(content_md5=WRONG)
        error = await refused(sending("PutObject", Key="k", body=CONTENT, **world.members(mode)))
        assert (error.status, error.code) == (400, "BadDigest")
        assert bool(dict(error.detail)) == shown
        assert await world.worker.rows("SELECT count(*) FROM object_versions") == [(0,)]

    with_world(key_server, tmp_path, work)
