"""CopyObject across every pair of modes, versions and uploads among the sources, and onto itself."""

import hashlib

import pytest

from tests.calls import BUCKET
from tests.kms_calls import context, reading, refused, with_world

CONTENT = b"plaintext" * 3000
MD5 = f'"{hashlib.md5(CONTENT).hexdigest()}"'
MODES = ["none", "SSE-S3", "KMS", "other KMS", "bucket key", "DSSE", "SSE-C"]
OF_ANOTHER = {"KMS", "other KMS", "bucket key", "DSSE", "SSE-C"}  # whose ETag is no MD5

SOURCE = {"CopySource": f"{BUCKET}/source"}


def told(answer):
    return {
        name: answer[name]
        for name in answer
        if name.startswith(("ServerSide", "SSECustomerAlg", "SSEKMS", "BucketKey"))
    }


def expected(world, mode):
    kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": world.key}
    return {
        "none": {"ServerSideEncryption": "AES256"},
        "SSE-S3": {"ServerSideEncryption": "AES256"},
        "SSE-C": {"SSECustomerAlgorithm": "AES256"},
        "KMS": kms,
        "other KMS": kms | {"SSEKMSKeyId": world.other_key},
        "bucket key": kms | {"BucketKeyEnabled": True},
        "DSSE": kms | {"ServerSideEncryption": "aws:kms:dsse"},
    }[mode]


async def check(world, key, mode, answer, checksum):
    result = answer["CopyObjectResult"]
    assert told(answer) == expected(world, mode)
    assert (result["ETag"] == MD5) == (mode not in OF_ANOTHER)
    assert result["ChecksumCRC64NVME"] == checksum
    assert await world.worker.get(key, **reading(mode)) == CONTENT
    head = await world.worker("HeadObject", Key=key, ChecksumMode="ENABLED", **reading(mode))
    assert told(head) == expected(world, mode)
    assert head["ETag"] == result["ETag"]
    assert (head["ChecksumCRC64NVME"], head["ChecksumType"]) == (checksum, "FULL_OBJECT")


@pytest.mark.parametrize("target", MODES)
@pytest.mark.parametrize("source", MODES)
def test_a_copy(tmp_path, key_server, source, target):
    async def work(world):
        put = await world.worker.put("source", CONTENT, **world.members(source))
        answer = await world.worker(
            "CopyObject", Key="copy", **SOURCE, **reading(source, "CopySource"), **world.members(target)
        )
        await check(world, "copy", target, answer, put["ChecksumCRC64NVME"])
        assert await world.worker.get("source", **reading(source)) == CONTENT

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize("target", MODES)
@pytest.mark.parametrize("source", ["SSE-S3", "KMS", "bucket key", "DSSE"])
def test_a_copy_of_an_upload_and_of_an_old_version(tmp_path, key_server, source, target):
    async def work(world):
        declared = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
        upload, listed = await world.worker.upload("source", CONTENT, **world.members(source), **declared)
        done = await world.worker.complete(upload, listed)
        await world.worker.put("source", b"newer", **world.members(source))
        named = {"CopySource": f"{BUCKET}/source?versionId={done['VersionId']}"}
        answer = await world.worker("CopyObject", Key="copy", **named, **world.members(target))
        assert answer["CopySourceVersionId"] == done["VersionId"]
        await check(world, "copy", target, answer, done["ChecksumCRC64NVME"])

    with_world(key_server, tmp_path, work, versioning="Enabled")


@pytest.mark.parametrize("target", MODES)
@pytest.mark.parametrize("source", MODES)
def test_a_copy_onto_itself_moves_bytes_only_where_it_has_to(tmp_path, key_server, source, target):
    async def work(world):
        put = await world.worker.put("source", CONTENT, **world.members(source), Metadata={"a": "b"})
        before = world.worker.blobs()
        world.record.forget()
        copying = world.worker(
            "CopyObject", Key="source", **SOURCE, **reading(source, "CopySource"), **world.members(target)
        )
        if target == "none" and source in ("none", "SSE-S3"):
            assert (await refused(copying)).code == "InvalidRequest"
            return
        answer = await copying
        moved = bool(world.worker.blobs() - before)
        asked = world.record.counts()
        await check(world, "source", target, answer, put["ChecksumCRC64NVME"])
        assert answer["CopyObjectResult"]["ETag"] != put["ETag"] or {source, target} <= {"none", "SSE-S3"}
        one_layer = OF_ANOTHER - {"DSSE"}
        assert moved == (not ({source, target} <= one_layer or source == target == "DSSE"))
        if not moved and source in ("KMS", "other KMS", "DSSE") and target in ("KMS", "other KMS", "DSSE"):
            assert asked == {"Decrypt": 1, "ReEncrypt": 1}
        if source == "SSE-C" and target == "KMS":
            assert asked == {"Encrypt": 1, "Decrypt": 1}
        if source == "SSE-C" and target == "bucket key":
            assert asked == {"GenerateDataKey": 1}
        head = await world.worker("HeadObject", Key="source", **reading(target))
        assert head["Metadata"] == {"a": "b"}

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize("source", ["KMS", "bucket key", "SSE-C", "DSSE"])
@pytest.mark.parametrize("target", ["KMS", "other KMS", "DSSE"])
def test_who_may_not_reseal_may_copy_onto_itself_all_the_same(tmp_path, key_server, source, target):
    """AWS asks for Decrypt and GenerateDataKey, so these are enough, with the bytes moved."""

    async def work(world):
        put = await world.worker.put("source", CONTENT, **world.members(source))
        who = await world.somebody("carol", "Decrypt", "GenerateDataKey")
        answer = await who(
            "CopyObject", Key="source", **SOURCE, **reading(source, "CopySource"), **world.members(target)
        )
        await check(world, "source", target, answer, put["ChecksumCRC64NVME"])

    with_world(key_server, tmp_path, work)


def test_a_copy_onto_itself_takes_the_context_it_is_given(tmp_path, key_server):
    async def work(world):
        given = {"SSEKMSEncryptionContext": context(team="one")}
        await world.worker.put("source", CONTENT, **world.members("KMS"), **given)
        given = {"SSEKMSEncryptionContext": context(team="two")}
        await world.worker("CopyObject", Key="source", **SOURCE, **world.members("other KMS"), **given)
        world.record.forget()
        assert await world.worker.get("source") == CONTENT
        (question,) = world.record.questions
        assert question.key_arns == (world.other_key,)
        assert question.context == {"aws:s3:arn": f"arn:aws:s3:::{BUCKET}/source", "team": "two"}

    with_world(key_server, tmp_path, work)


def test_after_a_copy_onto_itself_the_old_key_is_not_needed(tmp_path, key_server):
    async def work(world):
        for mode in ("KMS", "DSSE"):
            target = {**world.members(mode), "SSEKMSKeyId": world.other_key}
            await world.worker.put("source", CONTENT, **world.members(mode))
            await world.worker("CopyObject", Key="source", **SOURCE, **target)
            world.operator.disable_key(KeyId=world.key)
            assert await world.worker.get("source") == CONTENT
            world.operator.enable_key(KeyId=world.key)

    with_world(key_server, tmp_path, work)


def test_with_versions_a_copy_onto_itself_is_a_new_version_of_its_own(tmp_path, key_server):
    async def work(world):
        first = await world.worker.put("source", CONTENT, **world.members("KMS"))
        before = world.worker.blobs()
        await world.worker("CopyObject", Key="source", **SOURCE, **world.members("other KMS"))
        assert world.worker.blobs() > before
        world.operator.disable_key(KeyId=world.other_key)
        assert await world.worker.get("source", VersionId=first["VersionId"]) == CONTENT

    with_world(key_server, tmp_path, work, versioning="Enabled")


@pytest.mark.parametrize("mode", ["KMS", "bucket key", "DSSE"])
def test_a_part_copied_from_every_mode(tmp_path, key_server, mode):
    async def work(world):
        upload = await world.worker("CreateMultipartUpload", Key="target", **world.members(mode))
        named = {"Key": "target", "UploadId": upload["UploadId"]}
        listed = []
        for number, source in enumerate(MODES, start=1):
            await world.worker.put("source", CONTENT * 200, **world.members(source))
            answer = await world.worker(
                "UploadPartCopy", **named, PartNumber=number, **SOURCE, **reading(source, "CopySource")
            )
            assert told(answer) == expected(world, mode)
            listed.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
        done = await world.worker.complete(named, listed)
        assert told(done) == expected(world, mode)
        assert await world.worker.get("target") == CONTENT * 200 * len(MODES)

    with_world(key_server, tmp_path, work)
