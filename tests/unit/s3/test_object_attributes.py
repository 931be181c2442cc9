import base64
import hashlib
from typing import Any

import pytest

from strongroom.aws.errors import S3Error
from tests.calls import Worker, with_workers


async def parts(worker: Worker, **given) -> dict[str, Any]:
    """The parts that are told of an object of one part under a COMPOSITE checksum."""
    if not (await worker("ListObjectsV2"))["KeyCount"]:
        upload, _ = await worker.upload("key", ChecksumAlgorithm="SHA256")
        value = base64.b64encode(hashlib.sha256(b"only").digest()).decode()
        sending = worker.sending(x_amz_checksum_sha256=value)
        etag = (await sending("UploadPart", **upload, PartNumber=1, body=b"only"))["ETag"]
        await worker.complete(upload, [{"PartNumber": 1, "ETag": etag, "ChecksumSHA256": value}])
    told = await worker("GetObjectAttributes", Key="key", ObjectAttributes=["ObjectParts"], **given)
    found: dict[str, Any] = told["ObjectParts"]
    return found


def test_the_list_of_parts_goes_on_behind_its_marker(tmp_path) -> None:
    async def work(worker: Worker) -> None:
        (part,) = (await parts(worker))["Parts"]
        assert part["PartNumber"] == 1
        for marker in ("1", "10000", str(2**31 - 1)):
            assert (await parts(worker, PartNumberMarker=marker))["Parts"] == []
        none = await parts(worker, MaxParts=0)
        assert (none["Parts"], none["IsTruncated"]) == ([], False)

    with_workers(tmp_path, work)


@pytest.mark.parametrize(
    "given",
    [{"PartNumberMarker": value} for value in ("x", "-1", "1.0", "²", "9" * 5000, str(2**63))] + [{"MaxParts": -1}],
    ids=lambda given: str(given)[:30],
)
def test_a_number_that_is_none_is_refused(tmp_path, given) -> None:
    async def work(worker: Worker) -> None:
        with pytest.raises(S3Error, match="InvalidArgument"):
            await parts(worker, **given)

    with_workers(tmp_path, work)
