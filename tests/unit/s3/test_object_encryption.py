"""UpdateObjectEncryption: another key for the same object, and nothing else changed."""

import asyncio
import hashlib

import pytest

from tests.calls import BUCKET
from tests.kms_calls import context, reading, refused, with_world

CONTENT = b"plaintext" * 3000
MANY = b"x" * (5 << 20)
MD5 = f'"{hashlib.md5(CONTENT).hexdigest()}"'
TARGETS = ["KMS", "other KMS", "bucket key", "other bucket key"]


def members(world, target, **more):
    arn = world.other_key if target.startswith("other") else world.key
    chosen = {"KMSKeyArn": arn} | ({"BucketKeyEnabled": "true"} if target.endswith("bucket key") else {})
    return {"Key": "k", "ObjectEncryption": {"SSEKMS": chosen}, **more}


async def update(worker, given):
    return await worker.sending(content_md5="checked at the edge")("UpdateObjectEncryption", **given)


async def kept(world):
    """Everything that must not change."""
    head = dict(await world.worker("HeadObject", Key="k", ChecksumMode="ENABLED", **reading("KMS")))
    for member in ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled"):
        head.pop(member, None)
    tags = (await world.worker("GetObjectTagging", Key="k"))["TagSet"]
    listed = (await world.worker("ListObjectsV2"))["Contents"]
    return head, tags, listed, world.worker.blobs()


async def furnish(world, source):
    more = {"Metadata": {"a": "b"}, "StorageClass": "STANDARD_IA", "Tagging": "x=y"}
    await world.worker.put("k", CONTENT, **world.members(source), **more)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", ["SSE-S3", "KMS", "bucket key"])
@pytest.mark.parametrize("versioning", ["", "Enabled"])
def test_only_the_key_changes(tmp_path, key_server, source, target, versioning):
    async def work(world):
        await furnish(world, source)
        before = await kept(world)
        world.record.forget()
        assert await update(world.worker, members(world, target)) == {}
        asked = world.record.counts()
        if source == "KMS" and target.endswith("KMS"):
            assert asked == {"ReEncrypt": 1}
        if source == "SSE-S3":
            assert asked == ({"GenerateDataKey": 1} if target.endswith("bucket key") else {"Encrypt": 1, "Decrypt": 1})
        assert await kept(world) == before
        head = await world.worker("HeadObject", Key="k")
        assert head["ServerSideEncryption"] == "aws:kms"
        assert head["SSEKMSKeyId"] == (world.other_key if target.startswith("other") else world.key)
        assert head.get("BucketKeyEnabled", False) is target.endswith("bucket key")
        assert (head["ETag"] == MD5) == (source == "SSE-S3")
        assert await world.worker.get("k") == CONTENT
        if target.startswith("other"):
            world.operator.disable_key(KeyId=world.key)
            assert await world.worker.get("k") == CONTENT
        (row,) = await world.worker.rows("SELECT mode, key_arn, material_id, bucket_key_id FROM object_versions")
        assert (row[2] is None) == target.endswith("bucket key")
        if row[2] is not None:
            assert row[2] == world.material(row[1])

    with_world(key_server, tmp_path, work, versioning=versioning)


def test_parts_of_an_upload_and_an_old_version_keep_everything_too(tmp_path, key_server):
    async def work(world):
        upload, listed = await world.worker.upload("k", MANY, CONTENT)
        done = await world.worker.complete(upload, listed)
        await world.worker.put("k", b"newer")
        given = members(world, "KMS", VersionId=done["VersionId"])
        await update(world.worker, given)
        assert (await world.worker("HeadObject", Key="k"))["ServerSideEncryption"] == "AES256"
        old = {"VersionId": done["VersionId"], "ChecksumMode": "ENABLED"}
        head = await world.worker("HeadObject", Key="k", **old)
        assert (head["ETag"], head["ChecksumCRC64NVME"]) == (done["ETag"], done["ChecksumCRC64NVME"])
        assert head["SSEKMSKeyId"] == world.key
        assert await world.worker.get("k", VersionId=done["VersionId"]) == MANY + CONTENT
        assert await world.worker.get("k", VersionId=done["VersionId"], PartNumber=2) == CONTENT

    with_world(key_server, tmp_path, work, versioning="Enabled")


def test_the_clients_context_stays(tmp_path, key_server):
    async def work(world):
        given = {"SSEKMSEncryptionContext": context(team="storage")}
        await world.worker.put("k", CONTENT, **world.members("KMS"), **given)
        await update(world.worker, members(world, "other KMS"))
        world.record.forget()
        assert await world.worker.get("k") == CONTENT
        (question,) = world.record.questions
        assert question.context == {"aws:s3:arn": f"arn:aws:s3:::{BUCKET}/k", "team": "storage"}

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize("source", ["DSSE", "SSE-C"])
def test_sources_that_are_not_supported(tmp_path, key_server, source):
    async def work(world):
        await world.worker.put("k", CONTENT, **world.members(source))
        world.record.forget()
        error = await refused(update(world.worker, members(world, "KMS")))
        assert (error.status, error.code) == (400, "InvalidRequest")
        assert error.message == (
            "The UpdateObjectEncryption operation doesn't support source objects with the encryption type DSSE-KMS or"
            " SSE-C. Only source objects encrypted with SSE-S3 or SSE-KMS are supported."
        )
        assert world.record.counts() == {}

    with_world(key_server, tmp_path, work)


ARN = "arn:aws:kms:us-east-1:000000000000:key/134f2428-cec1-4b25-a1ae-9048164dba47"
NO_TYPE = "Requests that modify an object encryption configuration require a valid new encryption type."
BAD_ARN = "Requests that modify an object's encryption type to SSE-KMS require a valid Amazon Web Services KMS key"


@pytest.mark.parametrize(
    ("given", "status", "code", "message"),
    [
        ({}, 400, "InvalidRequest", NO_TYPE),
        ({"SSES3": {}}, 400, "InvalidRequest", NO_TYPE),
        ({"SSES3": {}, "SSEKMS": {"KMSKeyArn": ARN}}, 400, "InvalidRequest", NO_TYPE),
        ({"DSSEKMS": {}}, 400, "InvalidRequest", "The UpdateObjectEncryption operation doesn't support updating the"),
        ({"SSEC": {}}, 400, "InvalidRequest", "The UpdateObjectEncryption operation doesn't support updating the"),
        (
            {"SSEKMS": {}},
            400,
            "InvalidRequest",
            "Requests that modify an object's encryption type to SSE-KMS require an",
        ),
        ({"SSEKMS": {"KMSKeyArn": "alias/one"}}, 400, "InvalidRequest", BAD_ARN),
        ({"SSEKMS": {"KMSKeyArn": ARN.rpartition("/")[2]}}, 400, "InvalidRequest", BAD_ARN),
        ({"SSEKMS": {"KMSKeyArn": ARN.replace("key/", "alias/")}}, 400, "InvalidRequest", BAD_ARN),
        ({"SSEKMS": {"KMSKeyArn": ARN + "\n"}}, 400, "InvalidRequest", BAD_ARN),
        ({"SSEKMS": {"KMSKeyArn": ARN + "a" * 2048}}, 400, "InvalidRequest", BAD_ARN),
        (
            {"SSEKMS": {"KMSKeyArn": ARN, "BucketKeyEnabled": "yes"}},
            400,
            "InvalidRequest",
            "The BucketKeyEnabled value isn't valid. Valid values are true or false.",
        ),
        (
            {"SSEKMS": {"KMSKeyArn": ARN.replace("000000000000", "111122223333")}},
            403,
            "AccessDenied",
            "The Amazon Web Services KMS key in the request must be owned by the same account as the bucket.",
        ),
        ({"SSEKMS": {"KMSKeyArn": ARN}}, 400, "KMS.NotFoundException", f"Key '{ARN}' does not exist"),
    ],
)
def test_what_is_asked_wrongly(tmp_path, key_server, given, status, code, message):
    async def work(world):
        await furnish(world, "SSE-S3")
        before = await world.worker.rows("SELECT sealed FROM object_versions")
        error = await refused(update(world.worker, {"Key": "k", "ObjectEncryption": given}))
        assert (error.status, error.code) == (status, code)
        assert error.message.startswith(message)
        assert await world.worker.rows("SELECT sealed FROM object_versions") == before

    with_world(key_server, tmp_path, work)


def test_what_is_not_there(tmp_path, key_server):
    async def work(world):
        error = await refused(update(world.worker, members(world, "KMS")))
        assert (error.status, error.code) == (404, "NoSuchKey")
        put = await world.worker.put("k", CONTENT)
        await world.worker("DeleteObject", Key="k")
        assert (await refused(update(world.worker, members(world, "KMS")))).code == "NoSuchKey"
        other = put["VersionId"][:-1] + ("0" if put["VersionId"][-1] != "0" else "1")
        error = await refused(update(world.worker, members(world, "KMS", VersionId=other)))
        assert error.code == "NoSuchVersion"
        await update(world.worker, members(world, "KMS", VersionId=put["VersionId"]))
        error = await refused(world.worker("UpdateObjectEncryption", **members(world, "KMS")))
        assert (error.status, error.code) == (400, "InvalidRequest")  # neither Content-MD5 nor a checksum

    with_world(key_server, tmp_path, work, versioning="Enabled")


@pytest.mark.parametrize(
    ("source", "target", "needed"),
    [
        ("SSE-S3", "KMS", ["Encrypt", "Decrypt"]),
        ("SSE-S3", "bucket key", ["GenerateDataKey"]),
        ("KMS", "other KMS", ["ReEncryptFrom", "ReEncryptTo"]),
        ("KMS", "bucket key", ["Decrypt", "GenerateDataKey"]),
        ("bucket key", "KMS", ["Decrypt", "Encrypt"]),
        ("bucket key", "other bucket key", ["Decrypt", "GenerateDataKey"]),
    ],
)
def test_each_right_is_needed(tmp_path, key_server, source, target, needed):
    async def work(world):
        await furnish(world, source)
        for missing in needed:
            who = await world.somebody(f"without-{missing}", *(right for right in needed if right != missing))
            before = await world.worker.rows("SELECT sealed FROM object_versions")
            error = await refused(update(who, members(world, target)))
            assert (error.status, error.code) == (403, "AccessDenied")
            assert f"kms:{missing}" in error.message
            assert await world.worker.rows("SELECT sealed FROM object_versions") == before
        await update(await world.somebody("with-all", *needed), members(world, target))
        assert await world.worker.get("k") == CONTENT

    with_world(key_server, tmp_path, work)


def test_an_outage_changes_nothing(tmp_path, key_server):
    async def work(world):
        await furnish(world, "SSE-S3")
        worker = world.in_an_outage(world.worker)
        assert (await refused(update(worker, members(world, "KMS")))).status == 503
        assert (await worker("HeadObject", Key="k"))["ServerSideEncryption"] == "AES256"
        assert await worker.get("k") == CONTENT

    with_world(key_server, tmp_path, work)


def test_what_changes_meanwhile_is_read_again_and_never_undone(tmp_path, key_server):
    async def work(world):
        await furnish(world, "KMS")
        tags = [{"TagSet": [{"Key": "n", "Value": str(number)}]} for number in range(6)]
        await asyncio.gather(
            *(update(world.worker, members(world, target)) for target in TARGETS),
            *(world.worker("PutObjectTagging", Key="k", Tagging=each) for each in tags),
            return_exceptions=True,
        )
        (tag,) = (await world.worker("GetObjectTagging", Key="k"))["TagSet"]
        assert tag["Key"] == "n"
        assert await world.worker.get("k") == CONTENT

    with_world(key_server, tmp_path, work)


def test_an_object_replaced_meanwhile_is_left_alone(tmp_path, key_server):
    async def work(world):
        await furnish(world, "SSE-S3")
        kms = world.worker.storage.kms
        encrypt = kms.encrypt

        async def slow(*args):
            await world.worker.put("k", b"another", **world.members("SSE-C"))
            return await encrypt(*args)

        kms.encrypt = slow
        error = await refused(update(world.worker, members(world, "KMS")))
        assert (error.status, error.code) == (400, "InvalidRequest")  # it is a customer's object now
        assert await world.worker.get("k", **reading("SSE-C")) == b"another"

    with_world(key_server, tmp_path, work)
