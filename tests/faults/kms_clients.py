"""Clients of a running server's key service, what it has on record, and objects under its keys."""

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from strongroom.audit.checkpoint import Verifier
from strongroom.audit.files import list_files, opened_directory, read_public_key
from strongroom.audit.verify import Report, verify
from tests.harness import Reply, Server

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "2"))
"""How often something happens at a random moment; more of them find more."""
ACCOUNT = "000000000000"
GONE = BotoCoreError
"""What a client gets whose key service dies: no answer."""
SSE = "x-amz-server-side-encryption"


def is_up(kms: Any) -> bool:
    try:
        kms.generate_random(NumberOfBytes=1)
    except (GONE, ClientError):
        return False
    return True


def put(
    server: Server, target: str, body: bytes = b"content", *, key: str | None = None, bucket_key: bool = False
) -> Reply:
    """PutObject with SSE-KMS. `target`: /BUCKET/KEY; `key` None: aws/s3."""
    headers = {SSE: "aws:kms"}
    headers |= {f"{SSE}-aws-kms-key-id": key} if key is not None else {}
    headers |= {f"{SSE}-bucket-key-enabled": "true"} if bucket_key else {}
    return server.send("PUT", target, headers=headers, body=body)


def put_default_encryption(server: Server, bucket: str, key: str | None = None, *, bucket_key: bool = False) -> None:
    named = "" if key is None else f"<KMSMasterKeyID>{key}</KMSMasterKeyID>"
    document = (
        '<ServerSideEncryptionConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule>'
        f"<ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm>{named}"
        f"</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>{str(bucket_key).lower()}</BucketKeyEnabled>"
        "</Rule></ServerSideEncryptionConfiguration>"
    )
    assert server.send("PUT", f"/{bucket}?encryption=", body=document.encode()).status == 200


# --- the record


def audit_directory(server: Server, data_dir: Path | None = None) -> Path:
    return (data_dir or server.data_dir) / "audit"


def events(server: Server, *, data_dir: Path | None = None) -> list[dict[str, Any]]:
    """In order; a line that is being written is left out. `data_dir`: where it is for this process."""
    directory = audit_directory(server, data_dir)
    with opened_directory(directory) as descriptor:
        names = [file.name for file in list_files(descriptor)]
    lines = [line for name in names for line in (directory / name).read_bytes().splitlines(keepends=True)]
    return [json.loads(line)["event"] for line in lines if line.endswith(b"\n")]


def verified(server: Server, *, data_dir: Path | None = None) -> Report:
    directory = audit_directory(server, data_dir)
    public_key = read_public_key(directory)
    assert public_key is not None
    return verify(directory, Verifier(public_key))


def check_record(server: Server, acknowledged: Mapping[str, str], *, data_dir: Path | None = None) -> None:
    """The log is sound, has no event twice, and tells of every answer. `acknowledged`: operations by request id."""
    assert verified(server, data_dir=data_dir).problems == []
    found = events(server, data_dir=data_dir)
    twice = [event_id for event_id, count in Counter(event["eventID"] for event in found).items() if count > 1]
    assert twice == []
    told = {event["requestID"]: event["eventName"] for event in found if "requestID" in event}
    assert {each: told.get(each) for each in acknowledged} == dict(acknowledged)


def request_id(answer: Mapping[str, Any]) -> str:
    found: str = answer["ResponseMetadata"]["RequestId"]
    return found
