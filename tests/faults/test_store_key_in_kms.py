"""The store key in the key service: a store that begins there, one that moves there and back under load, and what its own
key lets nobody do.
"""

import base64
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from strongroom.server.paths import Paths
from tests.faults.load import under_load
from tests.faults.test_operations_online import command, wait_until
from tests.harness import Server, new_server, running
from tests.stored import with_store
from tests.unit.cli.test_store_commands import run

IN_KMS = {"STRONGROOM_STORE_KEY_SOURCE": "kms"}
STORE_ALIAS = "alias/aws/strongroom"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running(tmp_path_factory.mktemp("fresh"), "--workers", "1", environment=IN_KMS) as server:
        server.s3().create_bucket(Bucket="first")
        server.s3().put_object(Bucket="first", Key="key", Body=b"content")
        yield server


def store_keys_of(server: Server) -> list[bytes]:
    async def keys(store: Any) -> list[bytes]:
        return list(store.load().values())

    return with_store(server.data_dir, keys)


def test_a_fresh_store_has_no_key_in_clear_anywhere(fresh: Server) -> None:
    assert [path.suffix for path in Paths(fresh.data_dir).keys.iterdir()] == [".kms"]
    (key,) = store_keys_of(fresh)
    forms = (key, base64.b64encode(key), key.hex().encode())
    for path in fresh.data_dir.rglob("*"):
        if path.is_file():
            assert not any(form in path.read_bytes() for form in forms), path
    assert not any(form in fresh.log.read_bytes() for form in forms)


def test_the_key_that_holds_it_is_nobodys_to_use_or_to_change(fresh: Server) -> None:
    client = fresh.kms()
    key = client.describe_key(KeyId=STORE_ALIAS)["KeyMetadata"]
    assert (key["KeyManager"], key["KeyState"]) == ("AWS", "Enabled")
    (path,) = Paths(fresh.data_dir).keys.iterdir()
    blob = base64.b64decode(json.loads(path.read_text())["ciphertext_blob"])
    context = {"aws:s3:arn": "arn:aws:s3:::", "strongroom:purpose": "store-key"}
    attempts: list[tuple[Any, dict[str, Any]]] = [
        (client.disable_key, {"KeyId": key["KeyId"]}),
        (client.schedule_key_deletion, {"KeyId": key["KeyId"]}),
        (client.disable_key_rotation, {"KeyId": key["KeyId"]}),
        (client.put_key_policy, {"KeyId": key["KeyId"], "Policy": client.get_key_policy(KeyId=key["KeyId"])["Policy"]}),
        (client.decrypt, {"CiphertextBlob": blob, "EncryptionContext": context}),
        (client.generate_data_key, {"KeyId": STORE_ALIAS, "KeySpec": "AES_256", "EncryptionContext": context}),
        (client.encrypt, {"KeyId": STORE_ALIAS, "Plaintext": b"x"}),
        (client.create_grant, {"KeyId": key["KeyId"], "GranteePrincipal": "*", "Operations": ["Decrypt"]}),
        (client.delete_alias, {"AliasName": STORE_ALIAS}),
        (client.update_alias, {"AliasName": STORE_ALIAS, "TargetKeyId": client.create_key()["KeyMetadata"]["KeyId"]}),
    ]
    for call, given in attempts:
        with pytest.raises(ClientError) as caught:
            call(**given)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400, call
    for encryption in ("aws:kms", "aws:kms:dsse"):  # not by way of S3 either
        with pytest.raises(ClientError, match="AccessDenied"):
            fresh.s3().put_object(
                Bucket="first", Key="x", Body=b"x", ServerSideEncryption=encryption, SSEKMSKeyId=STORE_ALIAS
            )
    assert client.describe_key(KeyId=STORE_ALIAS)["KeyMetadata"] == key


def test_a_worker_needs_the_key_service_only_to_start(fresh: Server) -> None:
    """While it hangs, SSE-S3 goes on; a worker that begins meanwhile comes up when it is back."""
    pid = fresh.kms_process()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert fresh.s3().get_object(Bucket="first", Key="key")["Body"].read() == b"content"
        fresh.s3().put_object(Bucket="first", Key="another", Body=b"more")
        (worker,) = fresh.workers()
        os.kill(worker, signal.SIGKILL)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert fresh.s3().get_object(Bucket="first", Key="another")["Body"].read() == b"more"
    assert fresh.workers() != [worker]


def test_a_stopped_key_service_is_told_in_one_sentence(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "1", environment=IN_KMS) as server:
        server.s3().create_bucket(Bucket="first")
    (path,) = Paths(server.data_dir).keys.iterdir()
    done = run("verify", "--data-dir", server.data_dir)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "the store key can't be opened, because the key service does not answer" in done.stderr
    # And where it is there but is another one: the file of the store key is not its.
    path.write_text(path.read_text().replace('"ciphertext_blob": "', '"ciphertext_blob": "AAAA'))
    elsewhere = ["--listen", "127.0.0.1:0", "--listen-tls", "off", "--listen-metrics", "off", "--kms-listen", "off"]
    refused = run("serve", "--data-dir", server.data_dir, *elsewhere)
    assert refused.returncode == 1
    assert "the store key can't be opened, the key service says: InvalidCiphertextException" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert [path] == list(Paths(server.data_dir).keys.iterdir())


def test_a_running_store_moves_there_and_back_and_no_request_notices(tmp_path: Path) -> None:
    server = new_server(tmp_path, "--workers", "2").start()
    try:
        s3 = server.s3()
        s3.create_bucket(Bucket="busy")
        s3.create_bucket(Bucket="idle")
        s3.put_object(Bucket="idle", Key="key", Body=b"content")
        with under_load(server, "busy") as load:
            wait_until(lambda: load.requests > 10)
            for to, suffix in (("kms", ".kms"), ("kms", ".kms"), ("keyfile", ".key"), ("kms", ".kms")):
                told = command("rotate-store-key", "--to", to, "--data-dir", server.data_dir)
                (path,) = Paths(server.data_dir).keys.iterdir()
                assert path.name == f"{told['new_store_key_id']}{suffix}"
                seen = load.requests
                wait_until(lambda seen=seen: load.requests > seen + 10)
        assert load.failures == []
        assert load.lost() == []
        assert command("verify", "--data-dir", server.data_dir)["damages"] == 0
        server.stop()
        server.environment.update(IN_KMS)
        server.start()
        assert load.lost() == []
        assert server.s3().get_object(Bucket="idle", Key="key")["Body"].read() == b"content"
        told = command("backup", "--data-dir", server.data_dir, tmp_path / "copy", "--with-keys", environment=IN_KMS)
        assert (told["is_sealed"], told["key_files"]) == (True, ["kms/root.key"])
    finally:
        server.stop()
    (tmp_path / "again").mkdir()
    (tmp_path / "copy").rename(tmp_path / "again" / "data")
    with running(tmp_path / "again", "--workers", "1", environment=IN_KMS) as again:
        assert again.s3().get_object(Bucket="idle", Key="key")["Body"].read() == b"content"


def test_where_to_move_it_is_one_of_two(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "1") as server:
        done = run("rotate-store-key", "--yes", "--to", "elsewhere", "--data-dir", server.data_dir)
        assert (done.returncode, done.stdout) == (1, "")
        assert "--to is kms or keyfile, not 'elsewhere'" in done.stderr
