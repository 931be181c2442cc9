"""What remains possible beside the key service, as docs/threat-model.md says it. These tests are to fail on the day on which
one of these limits no longer holds: then that page is to change.
"""

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.harness import STRONGROOM, new_server
from tests.key_service import ACCOUNT, ADMINISTRATION, KeyServer, allow, policy, refused, to
from tests.kms_calls import with_world

CONTENT = b"plaintext" * 3000


def test_a_user_made_anew_under_a_name_has_what_key_policies_and_grants_give_that_name(key_server: KeyServer) -> None:
    kms, first = key_server.client(), key_server.user(name="anew")
    named = kms.create_key(Policy=policy(ADMINISTRATION, allow("kms:DescribeKey", **to(first.arn))))["KeyMetadata"]
    user_id = key_server.opened.identities.person(first.arn).user_id
    same = {"StringEquals": {"aws:userid": user_id}}
    by_id = kms.create_key(Policy=policy(ADMINISTRATION, allow("kms:DescribeKey", **to(first.arn), Condition=same)))[
        "KeyMetadata"
    ]
    granted = kms.create_key()["KeyMetadata"]
    kms.create_grant(KeyId=granted["KeyId"], GranteePrincipal=first.arn, Operations=["DescribeKey"])
    keys = (named, by_id, granted)
    assert all(first.kms.describe_key(KeyId=key["KeyId"]) for key in keys)
    key_server.change_users(lambda users: users.delete_access_key(first.credentials.access_key_id))
    key_server.change_users(lambda users: users.delete("anew"))
    assert refused(first.kms.describe_key, KeyId=named["KeyId"])[0] == "UnrecognizedClientException"
    second = key_server.user(name="anew")
    assert second.arn == first.arn == f"arn:aws:iam::{ACCOUNT}:user/anew"
    assert second.kms.describe_key(KeyId=named["KeyId"])["KeyMetadata"]["KeyId"] == named["KeyId"]
    assert second.kms.describe_key(KeyId=granted["KeyId"])["KeyMetadata"]["KeyId"] == granted["KeyId"]
    assert refused(second.kms.describe_key, KeyId=by_id["KeyId"])[0] == "AccessDeniedException"  # the way out


def test_an_object_that_came_from_sse_s3_keeps_its_etag_under_a_key(tmp_path: Path, key_server: KeyServer) -> None:
    async def work(world: Any) -> None:
        await world.worker.put("k", CONTENT)
        change = {"Key": "k", "ObjectEncryption": {"SSEKMS": {"KMSKeyArn": world.key}}}
        await world.worker.sending(content_md5="x")("UpdateObjectEncryption", **change)
        nobody = await world.somebody("nobody")
        assert (await nobody("HeadObject", Key="k"))["ETag"] == f'"{hashlib.md5(CONTENT).hexdigest()}"'

    with_world(key_server, tmp_path, work)


def test_log_and_database_put_back_together_are_told_by_a_checkpoint_kept_elsewhere_alone(tmp_path: Path) -> None:
    server = new_server(tmp_path, "--workers", "1").start()
    server.kms().create_key()
    server.stop()
    for name in ("kms", "audit"):
        shutil.copytree(server.data_dir / name, tmp_path / "before" / name)
    server.start()
    made = server.kms().create_key()["KeyMetadata"]["KeyId"]
    server.stop()
    kept_elsewhere = tmp_path / "checkpoints"
    shutil.copy(server.data_dir / "audit" / "checkpoints", kept_elsewhere)
    for name in ("kms", "audit"):
        shutil.rmtree(server.data_dir / name)
        shutil.copytree(tmp_path / "before" / name, server.data_dir / name)
    assert verified(server.data_dir) == 0
    server.start()  # nothing here can tell
    assert refused(server.kms().describe_key, KeyId=made)[0] == "NotFoundException"
    server.stop()
    assert verified(server.data_dir) == 0
    shutil.copy(kept_elsewhere, server.data_dir / "audit" / "checkpoints")
    assert verified(server.data_dir) == 1


def verified(data_dir: Path) -> int:
    """The exit code of `audit verify`."""
    command = [STRONGROOM, "audit", "verify", "--data-dir", str(data_dir)]
    return subprocess.run(command, check=False, capture_output=True).returncode
