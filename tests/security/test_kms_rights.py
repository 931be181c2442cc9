"""S3's permission alone never opens an object under a key service (peer bugs B3, B10), and what the key service will not
or can not do is told exactly, stores nothing, and never becomes another kind of encryption.
"""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from strongroom.aws.errors import S3Error
from strongroom.keys.aws_kms import LIMITS
from strongroom.keys.kms_endpoint import on_this_machine
from strongroom.keys.provider import KeyServiceMisbehaved, KeyServiceRefusal, KeyServiceUnavailable
from strongroom.s3.kms_errors import s3_error
from tests.calls import BUCKET, Worker
from tests.kms_calls import World, asking, refused, with_world
from tests.kms_stub import CREDENTIALS, REGION, Refused, StubKms, listening

CONTENT = b"plaintext" * 3000
MODES = ["KMS", "bucket key", "DSSE"]

Step = Callable[[World, Worker, dict[str, Any]], Awaitable[object]]


def named(step: Step) -> str:
    return step.__name__


# --- what reveals plaintext, or makes it


async def get(_, who, __):
    return await who.get("k")


async def get_a_range(_, who, __):
    return await who.get("k", Range="bytes=1-1")


async def get_a_part(_, who, __):
    return await who.get("parts", PartNumber=1)


async def head_with_checksums(_, who, __):
    return await who("HeadObject", Key="k", ChecksumMode="ENABLED")


async def attributes_with_checksum(_, who, __):
    return await who("GetObjectAttributes", Key="k", ObjectAttributes=["Checksum"])


async def attributes_of_composite_parts(_, who, __):
    return await who("GetObjectAttributes", Key="composite", ObjectAttributes=["ObjectParts"])


async def copy_out(_, who, __):
    return await who("CopyObject", Key="out", CopySource=f"{BUCKET}/k")


async def copy_onto_itself(_, who, mode):
    return await who("CopyObject", Key="k", CopySource=f"{BUCKET}/k", **mode)


async def copy_a_part_out(_, who, __):
    upload = await who("CreateMultipartUpload", Key="out")
    return await who("UploadPartCopy", Key="out", UploadId=upload["UploadId"], PartNumber=1, CopySource=f"{BUCKET}/k")


async def upload_part(world, who, _):
    return await who("UploadPart", **world.upload, PartNumber=2, body=CONTENT)


async def upload_part_copy(world, who, _):
    return await who("UploadPartCopy", **world.upload, PartNumber=2, CopySource=f"{BUCKET}/plain")


async def list_parts_with_checksums(world, who, _):
    return await who("ListParts", **world.upload)


async def complete(world, who, _):
    return await who.complete(world.upload, world.listed)


async def complete_again(world, who, _):
    await world.worker.complete(world.upload, world.listed)
    return await who.complete(world.upload, world.listed)


async def put(_, who, mode):
    return await who.put("new", CONTENT, **mode)


async def create_upload(_, who, mode):
    return await who("CreateMultipartUpload", Key="new", **mode)


async def copy_in(_, who, mode):
    return await who("CopyObject", Key="new", CopySource=f"{BUCKET}/plain", **mode)


READS: list[Step] = [
    get,
    get_a_range,
    get_a_part,
    head_with_checksums,
    attributes_with_checksum,
    attributes_of_composite_parts,
    copy_out,
    copy_onto_itself,
    copy_a_part_out,
    upload_part,
    upload_part_copy,
    list_parts_with_checksums,
    complete,
    complete_again,
]
WRITES: list[Step] = [put, create_upload, copy_in]


async def furnish(world: World, mode: dict[str, Any]) -> None:
    await world.worker.put("k", CONTENT, **mode)
    await world.worker.put("plain", CONTENT)
    await world.worker.complete(*await world.worker.upload("parts", CONTENT, **mode))
    composite = {"ChecksumAlgorithm": "SHA256", "ChecksumType": "COMPOSITE"}
    upload, _ = await world.worker.upload("composite", **mode, **composite)
    part = await world.worker.sending(x_amz_checksum_sha256=sha256(CONTENT))(
        "UploadPart", **upload, PartNumber=1, body=CONTENT
    )
    listed = [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": sha256(CONTENT)}]
    await world.worker.complete(upload, listed)
    declared = {"ChecksumAlgorithm": "CRC32C", "ChecksumType": "FULL_OBJECT"}
    await world.begin("open", CONTENT, **mode, **declared)


def sha256(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def test_b10_a_repeated_complete_tells_no_checksum_of_an_object_that_has_a_key_of_its_own_now(tmp_path, key_server):
    """It was SSE-S3 when it was uploaded, so the checksum stands with the upload; UpdateObjectEncryption came later."""

    async def work(world):
        await world.begin("k", CONTENT)
        told = await world.worker.complete(world.upload, world.listed)
        assert told["ChecksumCRC64NVME"]
        encryption = {"SSEKMS": {"KMSKeyArn": world.key}}
        update = world.worker.sending(content_md5="x")
        await update("UpdateObjectEncryption", Key="k", ObjectEncryption=encryption)
        mallory = await world.somebody("mallory", "GenerateDataKey")
        error = await refused(mallory.complete(world.upload, world.listed))
        assert (error.status, error.code) == (403, "AccessDenied")
        alice = await world.somebody("alice", "Decrypt")
        again = await alice.complete(world.upload, world.listed)
        assert again["ChecksumCRC64NVME"] == told["ChecksumCRC64NVME"]

    with_world(key_server, tmp_path, work)


async def everything_stored(world: World) -> tuple[Any, ...]:
    """What no refused operation may change."""
    versions = await world.worker.rows("SELECT key, version_id, sealed FROM object_versions ORDER BY key, sequence")
    parts = await world.worker.rows("SELECT object_id, part_number, sealed FROM upload_parts ORDER BY 1, 2")
    return versions, parts, world.worker.blobs()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step", READS, ids=named)
def test_b10_nothing_is_revealed_without_the_right_to_decrypt(tmp_path, key_server, mode, step):
    async def work(world):
        members = world.members(mode)
        await furnish(world, members)
        assert await world.worker.get("k") == CONTENT  # whatever may be remembered is remembered now
        before = await everything_stored(world)
        who = await world.somebody("mallory", "GenerateDataKey")
        error = await refused(step(world, who, members))
        assert (error.status, error.code) == (403, "AccessDenied")
        assert error.message == (
            f"User: {who.requester.principal.arn} is not authorized to perform: kms:Decrypt on resource: {world.key} because no identity-based"
            " policy allows the kms:Decrypt action"
        )
        if step is not complete_again:
            assert await everything_stored(world) == before
        assert await step(world, await world.somebody("alice", "GenerateDataKey", "Decrypt"), members)

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step", WRITES, ids=named)
def test_b3_nothing_is_written_without_the_right_to_generate(tmp_path, key_server, mode, step):
    async def work(world):
        members = world.members(mode)
        await furnish(world, members)
        before = await everything_stored(world)
        error = await refused(step(world, await world.somebody("mallory", "Decrypt"), members))
        assert (error.status, error.code) == (403, "AccessDenied")
        assert "kms:GenerateDataKey" in error.message
        assert await everything_stored(world) == before
        assert await step(world, await world.somebody("alice", "GenerateDataKey"), members)

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize("mode", MODES)
def test_what_needs_no_key_needs_no_right(tmp_path, key_server, mode):
    async def work(world):
        await furnish(world, world.members(mode))
        await without_a_key(world, await world.somebody("nobody"))

    with_world(key_server, tmp_path, work)


async def without_a_key(world: World, who: Worker) -> None:
    """LIST, plain HEAD, tags, objects of other modes, DELETE."""
    assert (await who("HeadObject", Key="k"))["ContentLength"] == len(CONTENT)
    wanted = ["ETag", "ObjectSize", "StorageClass", "ObjectParts"]
    assert (await who("GetObjectAttributes", Key="parts", ObjectAttributes=wanted))["ObjectSize"] == len(CONTENT)
    assert len((await who("ListObjectsV2"))["Contents"]) == 4
    await who("PutObjectTagging", Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert await who.get("plain") == CONTENT
    await who.put("plain", CONTENT)
    upload = await who("CreateMultipartUpload", Key="plain")
    await who("AbortMultipartUpload", Key="plain", UploadId=upload["UploadId"])
    await who("AbortMultipartUpload", **world.upload)
    for key in ("k", "parts", "composite"):
        await who("DeleteObject", Key=key)
    assert [each["Key"] for each in (await who("ListObjectsV2"))["Contents"]] == ["plain"]


def test_one_persons_bucket_key_serves_nobody_else_however_many_ask(tmp_path, key_server):
    async def work(world):
        mode = world.members("bucket key")
        alice = await world.somebody("alice", "GenerateDataKey", "Decrypt")
        mallory = await world.somebody("mallory")
        await alice.put("k", CONTENT, **mode)
        assert await alice.get("k") == CONTENT
        tries = [mallory.get("k") for _ in range(50)] + [mallory.put(f"n{i}", CONTENT, **mode) for i in range(50)]
        answers = await asyncio.gather(alice.get("k"), *tries, alice.get("k"), return_exceptions=True)
        assert answers[0] == answers[-1] == CONTENT
        assert all(isinstance(answer, S3Error) and answer.status == 403 for answer in answers[1:-1])
        assert await alice.get("k") == CONTENT
        await alice.put("l", CONTENT, **mode)
        asked = [(each.principal, each.action) for each in world.record.questions]
        alices = alice.requester.principal.arn
        assert [action for who, action in asked if who == alices] == ["GenerateDataKey", "Decrypt"]
        mallorys = mallory.requester.principal.arn
        assert {action for who, action in asked if who == mallorys} == {"GenerateDataKey", "Decrypt"}

    with_world(key_server, tmp_path, work)


# --- what the key service can not or will not do


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step", [*READS, *WRITES], ids=named)
def test_an_outage_is_503_for_what_needs_the_key_and_nothing_falls_back(tmp_path, key_server, mode, step):
    async def work(world):
        members = world.members(mode)
        await furnish(world, members)
        carol = await world.somebody("carol", "GenerateDataKey", "Decrypt")  # for whom no bucket key is remembered
        if step is complete_again:
            await world.worker.complete(world.upload, world.listed)
        before = await everything_stored(world)
        again = complete if step is complete_again else step
        error = await refused(again(world, world.in_an_outage(carol), members))
        assert (error.status, error.code, dict(error.headers)) == (503, "ServiceUnavailable", {"Retry-After": "1"})
        assert await everything_stored(world) == before
        assert await again(world, carol, members)

    with_world(key_server, tmp_path, work)


def test_an_outage_leaves_everything_else_as_it_is(tmp_path, key_server):
    async def work(world):
        await furnish(world, world.members("KMS"))
        await without_a_key(world, world.in_an_outage(world.worker))

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize("mode", ["KMS", "DSSE"])
def test_a_default_of_the_bucket_falls_back_to_nothing_either(tmp_path, key_server, mode):
    async def work(world):
        algorithm = world.members(mode)["ServerSideEncryption"]
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm}}
        await world.worker("PutBucketEncryption", ServerSideEncryptionConfiguration={"Rules": [rule]})
        assert (await refused(world.in_an_outage(world.worker).put("k", CONTENT))).status == 503
        assert await world.worker.rows("SELECT count(*) FROM object_versions") == [(0,)]
        assert world.worker.blobs() == set()

    with_world(key_server, tmp_path, work)


def test_a_refused_key_costs_no_upload(tmp_path, key_server):
    async def work(world):
        read = []

        async def body():
            read.append("the body")
            yield b"0123456789"

        who = await world.somebody("mallory")
        for mode in MODES:
            error = await refused(who("PutObject", Key="k", body=body(), size=10, **world.members(mode)))
            assert error.status == 403
        assert read == []

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize(
    ("key", "code", "message"),
    [
        ("fake-key-id", "KMS.NotFoundException", "Invalid keyId 'fake-key-id'"),
        (
            "134f2428-cec1-4b25-a1ae-9048164dba47",
            "KMS.NotFoundException",
            "Key 'arn:aws:kms:us-east-1:000000000000:key/134f2428-cec1-4b25-a1ae-9048164dba47' does not exist",
        ),
        (
            "arn:aws:kms:us-west-2:000000000000:key/134f2428-cec1-4b25-a1ae-9048164dba47",
            "KMS.NotFoundException",
            "Invalid arn us-west-2",
        ),
        (
            "alias/none",
            "KMS.NotFoundException",
            "Alias arn:aws:kms:us-east-1:000000000000:alias/none is not found.",
        ),
    ],
)
@pytest.mark.parametrize("operation", ["PutObject", "CreateMultipartUpload", "CopyObject"])
def test_a_key_that_is_none(tmp_path, key_server, operation, key, code, message):
    async def work(world):
        await world.worker.put("plain", CONTENT)
        more: dict[str, Any] = {}
        if operation != "CreateMultipartUpload":
            more = {"body": CONTENT} if operation == "PutObject" else {"CopySource": f"{BUCKET}/plain"}
        for sse in ("aws:kms", "aws:kms:dsse"):
            named = {"ServerSideEncryption": sse, "SSEKMSKeyId": key}
            error = await refused(world.worker(operation, Key="k", **named, **more))
            assert (error.status, error.code, error.message, dict(error.detail)) == (400, code, message, {})

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("state", "code", "text"),
    [
        ("Disabled", "KMS.DisabledException", "{} is disabled."),
        ("PendingDeletion", "KMS.KMSInvalidStateException", "{} is pending deletion."),
    ],
)
def test_a_key_that_is_off(tmp_path, key_server, mode, state, code, text):
    async def work(world):
        members = world.members(mode)
        await world.worker.put("k", CONTENT, **members)
        dora = await world.somebody("dora", "GenerateDataKey", "Decrypt")
        if state == "Disabled":
            world.operator.disable_key(KeyId=world.key)
        else:
            world.operator.schedule_key_deletion(KeyId=world.key, PendingWindowInDays=7)
        for attempt in (dora.get("k"), dora.put("n", CONTENT, **members)):
            error = await refused(attempt)
            assert (error.status, error.code, error.message) == (400, code, text.format(world.key))
        assert (await dora("HeadObject", Key="k"))["SSEKMSKeyId"] == world.key
        if state == "PendingDeletion":
            world.operator.cancel_key_deletion(KeyId=world.key)
        world.operator.enable_key(KeyId=world.key)
        assert await dora.get("k") == CONTENT

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize("heard_by", ["GetObject", "PutObject", "UpdateObjectEncryption"])
def test_a_refusal_of_one_objects_key_ends_what_a_bucket_key_allowed(tmp_path, key_server, heard_by):
    async def work(world):
        worker, members, own = world.worker, world.members("bucket key"), world.members("KMS")
        await worker.put("k", CONTENT, **members)
        await worker.put("own", CONTENT, **own)
        assert await worker.get("k") == CONTENT
        world.operator.disable_key(KeyId=world.key)
        assert await worker.get("k") == CONTENT  # within the window, as nobody has heard of it
        if heard_by == "GetObject":
            attempt = worker.get("own")
        elif heard_by == "PutObject":
            attempt = worker.put("new", CONTENT, **own)
        else:
            change = {"Key": "own", "ObjectEncryption": {"SSEKMS": {"KMSKeyArn": world.other_key}}}
            attempt = worker.sending(content_md5="x")("UpdateObjectEncryption", **change)
        for each in (attempt, worker.get("k"), worker.put("new", CONTENT, **members)):
            assert (await refused(each)).code == "KMS.DisabledException"

    with_world(key_server, tmp_path, work)


def test_a_key_of_another_kind(tmp_path, key_server):
    async def work(world):
        made = world.operator.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")
        arn = made["KeyMetadata"]["Arn"]
        error = await refused(world.worker.put("k", CONTENT, ServerSideEncryption="aws:kms", SSEKMSKeyId=arn))
        assert (error.status, error.code) == (400, "KMS.InvalidKeyUsageException")
        assert error.message == f"{arn} key usage is SIGN_VERIFY which is not valid for GenerateDataKey."

    with_world(key_server, tmp_path, work)


def test_too_many_requests(tmp_path, key_server):
    """Ours refuses nobody for asking too often; Amazon's does."""

    def throttle(_):
        raise Refused("ThrottlingException", "Rate exceeded")

    stub, path = StubKms(judge=throttle), tmp_path / "amazons.sock"
    endpoint = on_this_machine(path, CREDENTIALS, region=REGION)

    async def work(world):
        async with listening(stub, path), asking(world.worker.storage, endpoint) as storage:
            worker = replace(world.worker, storage=storage)
            error = await refused(worker.put("k", CONTENT, **world.members("KMS")))
        assert stub.seen("GenerateDataKey") == 1 + LIMITS.retries
        assert (error.status, error.code) == (503, "SlowDown")
        assert error.message == "Please reduce your request rate for operations involving AWS KMS."

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (KeyServiceUnavailable("down"), 503, "ServiceUnavailable"),
        (KeyServiceUnavailable("down", retry_after=7), 503, "ServiceUnavailable"),
        (KeyServiceMisbehaved("another key"), 500, "InternalError"),
        (KeyServiceRefusal("KMSInternalException", ""), 503, "ServiceUnavailable"),
        (KeyServiceRefusal("DependencyTimeoutException", ""), 503, "ServiceUnavailable"),
        (KeyServiceRefusal("KeyUnavailableException", ""), 503, "ServiceUnavailable"),
        (KeyServiceRefusal("LimitExceededException", "x"), 503, "SlowDown"),
        (KeyServiceRefusal("AccessDeniedException", "who"), 403, "AccessDenied"),
        (KeyServiceRefusal("InvalidCiphertextException", ""), 400, "KMS.InvalidCiphertextException"),
        (KeyServiceRefusal("IncorrectKeyException", "x"), 400, "KMS.IncorrectKeyException"),
        (KeyServiceRefusal("UnrecognizedClientException", "x"), 500, "InternalError"),
        (KeyServiceRefusal("InvalidSignatureException", "x"), 500, "InternalError"),
        (KeyServiceRefusal("NobodyKnowsException", "x"), 500, "InternalError"),
    ],
)
def test_how_the_key_services_answers_are_told(raised, status, code):
    error = s3_error(raised)
    assert (error.status, error.code) == (status, code)
    assert error.message
    if code == "ServiceUnavailable":
        assert dict(error.headers) == {"Retry-After": str(getattr(raised, "retry_after", 1))}


@pytest.mark.parametrize("mode", MODES)
def test_an_insecure_connection_opens_and_writes_nothing(tmp_path, key_server, mode):
    async def work(world):
        members = world.members(mode)
        await furnish(world, members)
        insecure = replace(world.worker, requester=replace(world.worker.requester, secure_transport=False))
        world.record.forget()
        for step in [*READS, *WRITES]:
            if step is complete_again:
                continue
            error = await refused(step(world, insecure, members))
            assert (error.status, error.code) == (400, "InvalidArgument")
            assert error.message == (
                "Requests specifying Server Side Encryption with AWS KMS managed keys must be made over a secure"
                " connection."
            )
        assert world.record.counts() == {}
        assert await insecure.get("plain") == CONTENT
        assert await insecure("HeadObject", Key="k")

    with_world(key_server, tmp_path, work)


@pytest.mark.parametrize("mode", MODES)
def test_a_customers_key_is_not_applicable(tmp_path, key_server, mode):
    async def work(world):
        await furnish(world, world.members(mode))
        customer = world.members("SSE-C")
        for operation in ("GetObject", "HeadObject", "GetObjectAttributes"):
            error = await refused(world.worker(operation, Key="k", ObjectAttributes=["ETag"], **customer))
            assert (error.status, error.code) == (400, "InvalidRequest")
            assert error.message == "The encryption parameters are not applicable to this object."
        error = await refused(world.worker("UploadPart", **world.upload, PartNumber=2, body=CONTENT, **customer))
        assert error.message.startswith("The multipart upload initiate requested encryption.")

    with_world(key_server, tmp_path, work)
