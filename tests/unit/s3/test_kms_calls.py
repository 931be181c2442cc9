"""What S3 asks a key service, operation by operation: the table of what AWS documents (facts: KMS calls per operation)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.calls import BUCKET
from tests.kms_calls import World, context, refused, with_world

CONTENT = b"plaintext" * 3000
MODES = ["KMS", "DSSE"]

ONE_READ, ONE_WRITE = {"Decrypt": 1}, {"GenerateDataKey": 1}
COPY = {"Decrypt": 1, "GenerateDataKey": 1}

Steps = Callable[[World, dict[str, Any]], Awaitable[object]]


async def put(world, mode):
    await world.worker.put("new", CONTENT, **mode)


async def create_upload(world, mode):
    await world.worker("CreateMultipartUpload", Key="new", **mode)


async def copy(world, mode):
    await world.worker("CopyObject", Key="new", CopySource=f"{BUCKET}/k", **mode)


async def copy_to_sse_s3(world, _):
    await world.worker("CopyObject", Key="new", CopySource=f"{BUCKET}/k", ServerSideEncryption="AES256")


async def copy_from_sse_s3(world, mode):
    await world.worker("CopyObject", Key="new", CopySource=f"{BUCKET}/plain", **mode)


async def get(world, _):
    assert await world.worker.get("k") == CONTENT


async def get_a_range(world, _):
    assert await world.worker.get("k", Range="bytes=16380-16390") == CONTENT[16380:16391]


async def get_a_part(world, _):
    await world.worker.get("parts", PartNumber=1)


async def head(world, _):
    assert (await world.worker("HeadObject", Key="k"))["ContentLength"] == len(CONTENT)


async def head_a_part(world, _):
    await world.worker("HeadObject", Key="parts", PartNumber=1)


async def head_with_checksums(world, _):
    assert (await world.worker("HeadObject", Key="k", ChecksumMode="ENABLED"))["ChecksumCRC64NVME"]


async def attributes(world, _):
    await world.worker("GetObjectAttributes", Key="k", ObjectAttributes=["ETag", "ObjectSize", "StorageClass"])


async def attributes_of_parts(world, _):
    await world.worker("GetObjectAttributes", Key="parts", ObjectAttributes=["ObjectParts"])


async def attributes_with_checksum(world, _):
    assert (await world.worker("GetObjectAttributes", Key="k", ObjectAttributes=["Checksum"]))["Checksum"]


async def upload_part(world, _):
    await world.worker("UploadPart", **world.upload, PartNumber=2, body=CONTENT)


async def upload_part_copy_from_sse_s3(world, _):
    await world.worker("UploadPartCopy", **world.upload, PartNumber=2, CopySource=f"{BUCKET}/plain")


async def upload_part_copy(world, _):
    await world.worker("UploadPartCopy", **world.upload, PartNumber=2, CopySource=f"{BUCKET}/k")


async def complete(world, _):
    answer = await world.worker.complete(world.upload, world.listed)
    assert not [member for member in answer if member.startswith("Checksum")]


async def list_parts(world, _):
    await world.worker("ListParts", **world.upload)


async def abort(world, _):
    await world.worker("AbortMultipartUpload", **world.upload)


async def delete(world, _):
    await world.worker("DeleteObject", Key="k")


async def delete_many(world, _):
    await world.worker("DeleteObjects", Delete={"Objects": [{"Key": "k"}, {"Key": "parts"}]})


async def list_all(world, _):
    await world.worker("ListObjectsV2")
    await world.worker("ListObjects")
    await world.worker("ListObjectVersions")
    await world.worker("ListMultipartUploads")


async def tags(world, _):
    await world.worker("PutObjectTagging", Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    await world.worker("GetObjectTagging", Key="k")
    await world.worker("DeleteObjectTagging", Key="k")


async def bucket_encryption(world, mode):
    rule = {"SSEAlgorithm": mode["ServerSideEncryption"], "KMSMasterKeyID": "no-such-key"}
    configuration = {"Rules": [{"ApplyServerSideEncryptionByDefault": rule}]}
    await world.worker("PutBucketEncryption", ServerSideEncryptionConfiguration=configuration)
    await world.worker("GetBucketEncryption")
    await world.worker("DeleteBucketEncryption")


async def refused_conditions(world, mode):
    await refused(world.worker.put("k", CONTENT, IfNoneMatch="*", **mode))
    await refused(world.worker.get("k", IfNoneMatch="*"))
    await refused(world.worker.get("k", IfMatch='"other"'))
    await refused(world.worker.get("k", Range="bytes=1000000-"))
    await refused(world.worker.get("k", PartNumber=2))
    await refused(world.worker("CopyObject", Key="n", CopySource=f"{BUCKET}/k", CopySourceIfNoneMatch="*", **mode))
    await refused(world.worker("CopyObject", Key="parts", CopySource=f"{BUCKET}/k", IfNoneMatch="*", **mode))
    await refused(world.worker.complete(world.upload, world.listed, IfMatch='"other"'))
    await refused(
        world.worker("UploadPartCopy", **world.upload, PartNumber=2, CopySource=f"{BUCKET}/k", CopySourceRange="x")
    )


TABLE: list[tuple[Steps, dict[str, int]]] = [
    (put, ONE_WRITE),
    (create_upload, ONE_WRITE),
    (upload_part, ONE_READ),
    (upload_part_copy_from_sse_s3, ONE_READ),
    (upload_part_copy, {"Decrypt": 2}),  # the upload's key and the source's
    (complete, ONE_READ),
    (list_parts, {}),  # there is no checksum to show
    (abort, {}),
    (copy, COPY),
    (copy_from_sse_s3, ONE_WRITE),
    (copy_to_sse_s3, ONE_READ),
    (get, ONE_READ),
    (get_a_range, ONE_READ),
    (get_a_part, ONE_READ),
    (head, {}),
    (head_a_part, {}),
    (head_with_checksums, ONE_READ),
    (attributes, {}),
    (attributes_of_parts, {}),
    (attributes_with_checksum, ONE_READ),
    (delete, {}),
    (delete_many, {}),
    (list_all, {}),
    (tags, {}),
    (bucket_encryption, {}),
    (refused_conditions, {}),
]


async def furnish(world, **mode):
    await world.worker.put("k", CONTENT, **mode)
    await world.worker.put("plain", CONTENT)
    await world.worker.complete(*await world.worker.upload("parts", CONTENT, **mode))
    await world.begin("open", CONTENT, **mode)


@pytest.mark.parametrize(("steps", "asked"), TABLE, ids=[steps.__name__ for steps, _ in TABLE])
@pytest.mark.parametrize("mode", MODES)
def test_what_an_operation_asks_of_the_key_service(tmp_path, key_server, mode, steps, asked):
    async def work(world):
        members = world.members(mode)
        await furnish(world, **members)
        world.record.forget()
        await steps(world, members)
        assert world.record.counts() == asked

    with_world(key_server, tmp_path, work)


def test_list_parts_of_an_upload_with_checksums_asks_once(tmp_path, key_server):
    async def work(world):
        declared = {"ChecksumAlgorithm": "CRC32C", "ChecksumType": "FULL_OBJECT"}
        upload, _ = await world.worker.upload("k", CONTENT, **world.members("KMS"), **declared)
        world.record.forget()
        (part,) = (await world.worker("ListParts", **upload))["Parts"]
        assert part["ChecksumCRC32C"]
        assert world.record.counts() == ONE_READ

    with_world(key_server, tmp_path, work)


def test_a_bucket_key_serves_many_objects(tmp_path, key_server):
    async def work(world):
        mode = world.members("bucket key")
        for number in range(20):
            await world.worker.put(f"k{number}", CONTENT, **mode)
        await world.worker.complete(*await world.worker.upload("parts", CONTENT, **mode))
        assert world.record.counts() == {"GenerateDataKey": 1, "Decrypt": 1}  # a write's answer serves no read
        for number in range(20):
            assert await world.worker.get(f"k{number}") == CONTENT
        await world.worker("CopyObject", Key="copy", CopySource=f"{BUCKET}/k1", **mode)
        assert world.record.counts() == {"GenerateDataKey": 1, "Decrypt": 1}
        assert {question.context["aws:s3:arn"] for question in world.record.questions} == {f"arn:aws:s3:::{BUCKET}"}

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize("mode", MODES)
def test_the_context_is_the_objects_arn_and_the_clients_pairs(tmp_path, key_server, mode):
    async def work(world):
        key = "folder/ünï ☃?"
        given = {**world.members(mode), "SSEKMSEncryptionContext": context(team="storage", a="1")}
        await world.worker.put(key, CONTENT, **given)
        assert await world.worker.get(key) == CONTENT
        await world.worker.complete(*await world.worker.upload(key, CONTENT, **given))
        assert await world.worker.get(key) == CONTENT
        wanted = {"aws:s3:arn": f"arn:aws:s3:::{BUCKET}/{key}", "team": "storage", "a": "1"}
        assert all(question.context == wanted for question in world.record.questions)
        assert len(world.record.questions) == 6

    with_world(key_server, tmp_path, work)


def test_the_clients_pairs_go_into_a_bucket_keys_context(tmp_path, key_server):
    async def work(world):
        given = {**world.members("bucket key"), "SSEKMSEncryptionContext": context(team="storage")}
        await world.worker.put("k", CONTENT, **given)
        await world.worker.put("l", CONTENT, **world.members("bucket key"))
        assert await world.worker.get("k") == CONTENT
        arn = f"arn:aws:s3:::{BUCKET}"
        assert [(question.action, dict(question.context)) for question in world.record.questions] == [
            ("GenerateDataKey", {"aws:s3:arn": arn, "team": "storage"}),
            ("GenerateDataKey", {"aws:s3:arn": arn}),
            ("Decrypt", {"aws:s3:arn": arn, "team": "storage"}),
        ]

    with_world(key_server, tmp_path, work)


def test_a_copy_leaves_the_sources_context_behind(tmp_path, key_server):
    async def work(world):
        given = {**world.members("KMS"), "SSEKMSEncryptionContext": context(team="storage")}
        await world.worker.put("k", CONTENT, **given)
        await world.worker("CopyObject", Key="copy", CopySource=f"{BUCKET}/k", **world.members("KMS"))
        world.record.forget()
        assert await world.worker.get("copy") == CONTENT
        assert world.record.questions[0].context == {"aws:s3:arn": f"arn:aws:s3:::{BUCKET}/copy"}

    with_world(key_server, tmp_path, work)


def managed_key(world):
    return world.operator.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["Arn"]


@pytest.mark.parametrize("form", ["id", "arn", "alias", "alias arn", None])
def test_every_form_of_a_key_is_told_as_its_arn(tmp_path, key_server, form):
    async def work(world):
        alias = world.alias()
        forms = {
            "id": world.key.rpartition("/")[2],
            "arn": world.key,
            "alias": alias,
            "alias arn": f"arn:aws:kms:us-east-1:000000000000:{alias}",
        }
        named = {} if form is None else {"SSEKMSKeyId": forms[form]}
        put = await world.worker.put("k", CONTENT, ServerSideEncryption="aws:kms", **named)
        arn = managed_key(world) if form is None else world.key
        head = await world.worker("HeadObject", Key="k")
        for answer in (put, head):
            told = {name: answer[name] for name in answer if name.startswith(("ServerSide", "SSE", "BucketKey"))}
            assert told == {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": arn}
        assert await world.worker.get("k") == CONTENT

    with_world(key_server, tmp_path, work)


def test_an_alias_that_moves_leaves_its_objects_where_they_are(tmp_path, key_server):
    async def work(world):
        alias = world.alias()
        await world.worker.put("k", CONTENT, ServerSideEncryption="aws:kms", SSEKMSKeyId=alias)
        world.operator.update_alias(AliasName=alias, TargetKeyId=world.other_key)
        assert await world.worker.get("k") == CONTENT
        assert (await world.worker("HeadObject", Key="k"))["SSEKMSKeyId"] == world.key

    with_world(key_server, tmp_path, work)


def test_old_material_opens_after_rotations(tmp_path, key_server):
    async def work(world):
        materials = [world.material(world.key)]
        for number in range(3):
            await world.worker.put(f"k{number}", CONTENT, **world.members("KMS"))
            materials.append(world.rotate(world.key))
        for number in range(3):
            assert await world.worker.get(f"k{number}") == CONTENT
        rows = await world.worker.rows("SELECT material_id FROM object_versions ORDER BY key")
        assert [row[0] for row in rows] == materials[:3]
        assert len(set(materials)) == 4

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize("mode", ["KMS", "bucket key", "DSSE"])
def test_an_objects_default_is_the_buckets_rule(tmp_path, key_server, mode):
    async def work(world):
        algorithm = "aws:kms:dsse" if mode == "DSSE" else "aws:kms"
        rule = {
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm, "KMSMasterKeyID": world.alias()},
            "BucketKeyEnabled": mode == "bucket key",
        }
        await world.worker("PutBucketEncryption", ServerSideEncryptionConfiguration={"Rules": [rule]})
        (told,) = (await world.worker("GetBucketEncryption"))["ServerSideEncryptionConfiguration"]["Rules"]
        assert told == rule
        answer = await world.worker.put("k", CONTENT)
        assert answer["ServerSideEncryption"] == algorithm
        assert answer["SSEKMSKeyId"] == world.key
        assert answer.get("BucketKeyEnabled") == (True if mode == "bucket key" else None)
        managed = await world.worker.put("l", CONTENT, ServerSideEncryption="aws:kms")
        assert managed["SSEKMSKeyId"] == managed_key(world)
        plain = await world.worker.put("m", CONTENT, ServerSideEncryption="AES256")
        assert plain["ServerSideEncryption"] == "AES256"
        assert "BucketKeyEnabled" not in plain

    with_world(key_server, tmp_path, work)


@dataclass
class Slow:
    """A key service that takes its time over Decrypt: the world goes on `meanwhile`, once."""

    kms: Any
    meanwhile: Callable[[], Awaitable[object]] | None

    async def decrypt(self, *given):
        if meanwhile := self.meanwhile:
            self.meanwhile = None
            await meanwhile()
        return await self.kms.decrypt(*given)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("copies", [False, True])
def test_an_upload_that_is_replaced_while_its_key_is_asked_for_is_read_as_it_was(tmp_path, key_server, mode, copies):
    """And the key service is asked once: what is to be found of an object is found before."""

    async def work(world):
        upload, listed = await world.worker.upload("k", CONTENT, **world.members(mode))
        await world.worker.complete(upload, listed)
        kms = Slow(world.worker.storage.kms, lambda: world.worker("DeleteObject", Key="k"))
        reader = replace(world.worker, storage=replace(world.worker.storage, kms=kms))
        world.record.forget()
        if copies:
            await reader("CopyObject", Key="copy", CopySource=f"{BUCKET}/k")
        else:
            assert await reader.get("k") == CONTENT
        assert world.record.counts() == ONE_READ
        assert not copies or await world.worker.get("copy") == CONTENT

    with_world(key_server, tmp_path, work)
