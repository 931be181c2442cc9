"""Unmodified clients of AWS KMS at work: aws-cli, the AWS Encryption SDK, and the calls of Terraform and SOPS in their order."""

import json
import os
import secrets
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

import aws_encryption_sdk
import botocore.session
import pytest
from aws_encryption_sdk import CommitmentPolicy, DiscoveryAwsKmsMasterKeyProvider, StrictAwsKmsMasterKeyProvider
from aws_encryption_sdk.exceptions import DecryptKeyError
from aws_encryption_sdk.identifiers import Algorithm

from tests.key_service import ADMINISTRATION, REGION, KeyServer, allow, policy, refused

CLIENTS = Path(__file__).parents[2] / ".testenv" / "bin"


def environment(server: KeyServer) -> dict[str, str]:
    return {
        "AWS_SHARED_CREDENTIALS_FILE": str(server.data_dir / "credentials"),
        "AWS_PROFILE": "strongroom",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL_KMS": server.url,
    }


# --- aws-cli


@pytest.fixture
def aws(key_server: KeyServer, tmp_path: Path) -> Any:
    """Runs `aws kms`; what it prints, as JSON, and its standard error where it must fail."""

    def run(*arguments: str, fails: bool = False) -> Any:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        finished = subprocess.run(
            [str(CLIENTS / "aws"), "kms", *arguments, "--output", "json"],
            cwd=tmp_path,
            env={**inherited, "HOME": str(tmp_path), **environment(key_server)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (finished.returncode != 0) == fails, f"{arguments}\n{finished.stdout}\n{finished.stderr}"
        if fails:
            return finished.stderr
        return json.loads(finished.stdout) if finished.stdout.strip() else None

    return run


def test_aws_cli__a_keys_whole_life(aws: Any, tmp_path: Path) -> None:
    key = aws("create-key", "--description", "of the cli", "--tags", "TagKey=team,TagValue=a")["KeyMetadata"]
    name = ["--key-id", key["KeyId"]]
    aws("create-alias", "--alias-name", "alias/cli", "--target-key-id", key["KeyId"])
    assert aws("describe-key", "--key-id", "alias/cli")["KeyMetadata"]["Arn"] == key["Arn"]

    (tmp_path / "plain").write_bytes(b"some text")
    context = ["--encryption-context", "purpose=test,number=1"]
    sealed = aws("encrypt", "--key-id", "alias/cli", "--plaintext", "fileb://plain", *context)
    (tmp_path / "blob").write_bytes(b64decode(sealed["CiphertextBlob"]))
    opened = aws("decrypt", "--ciphertext-blob", "fileb://blob", *context)
    assert (b64decode(opened["Plaintext"]), opened["KeyId"]) == (b"some text", key["Arn"])
    assert "InvalidCiphertextException" in aws("decrypt", "--ciphertext-blob", "fileb://blob", fails=True)
    data_key = aws("generate-data-key", *name, "--key-spec", "AES_256")
    assert len(b64decode(data_key["Plaintext"])) == 32

    aws("enable-key-rotation", *name, "--rotation-period-in-days", "180")
    assert aws("get-key-rotation-status", *name)["RotationPeriodInDays"] == 180
    aws("rotate-key-on-demand", *name)
    assert [each["RotationType"] for each in aws("list-key-rotations", *name)["Rotations"]] == ["ON_DEMAND"]
    assert aws("decrypt", "--ciphertext-blob", "fileb://blob", *context) == opened

    aws("disable-key", *name)
    error = aws("decrypt", "--ciphertext-blob", "fileb://blob", *context, fails=True)
    assert "(DisabledException)" in error
    assert f"{key['Arn']} is disabled." in error
    aws("enable-key", *name)
    assert aws("list-aliases", *name)["Aliases"][0]["AliasName"] == "alias/cli"
    assert aws("list-resource-tags", *name)["Tags"] == [{"TagKey": "team", "TagValue": "a"}]
    text = aws("get-key-policy", *name)["Policy"]
    aws("put-key-policy", *name, "--policy", text)
    assert key["KeyId"] in {each["KeyId"] for each in aws("list-keys", "--page-size", "1")["Keys"]}

    aws("delete-alias", "--alias-name", "alias/cli")
    scheduled = aws("schedule-key-deletion", *name, "--pending-window-in-days", "7")
    assert (scheduled["KeyState"], scheduled["PendingWindowInDays"]) == ("PendingDeletion", 7)
    assert "is pending deletion" in aws("decrypt", "--ciphertext-blob", "fileb://blob", *context, fails=True)
    aws("cancel-key-deletion", *name)
    assert aws("describe-key", *name)["KeyMetadata"]["KeyState"] == "Disabled"


def test_aws_cli__grants_signatures_and_random(aws: Any, key_server: KeyServer, tmp_path: Path) -> None:
    user = key_server.user()
    key = aws("create-key", "--key-spec", "ECC_NIST_P256", "--key-usage", "SIGN_VERIFY")["KeyMetadata"]
    name = ["--key-id", key["KeyId"]]
    granted = aws("create-grant", *name, "--grantee-principal", user.arn, "--operations", "Sign", "GetPublicKey")
    assert aws("list-grants", *name)["Grants"][0]["GrantId"] == granted["GrantId"]
    user.kms.sign(KeyId=key["KeyId"], Message=b"m", SigningAlgorithm="ECDSA_SHA_256")
    aws("revoke-grant", *name, "--grant-id", granted["GrantId"])
    (tmp_path / "message").write_bytes(b"m")
    signing = [*name, "--message", "fileb://message", "--signing-algorithm", "ECDSA_SHA_256"]
    (tmp_path / "signature").write_bytes(b64decode(aws("sign", *signing)["Signature"]))
    assert aws("verify", *signing, "--signature", "fileb://signature")["SignatureValid"] is True
    assert len(b64decode(aws("generate-random", "--number-of-bytes", "16")["Plaintext"])) == 16


# --- the AWS Encryption SDK


@pytest.fixture
def sdk(key_server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> botocore.session.Session:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    root = key_server.root_credentials
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", root.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", root.secret_access_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", key_server.url)
    return botocore.session.Session()


SUITES = [
    Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
    Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
]


@pytest.mark.parametrize("suite", SUITES, ids=[suite.name for suite in SUITES])
def test_encryption_sdk__round_trip_with_context(
    key_server: KeyServer, sdk: botocore.session.Session, suite: Algorithm
) -> None:
    kms = key_server.client()
    arns = [kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2)]
    other = kms.create_key()["KeyMetadata"]["Arn"]
    client = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    strict = StrictAwsKmsMasterKeyProvider(key_ids=arns, botocore_session=sdk)
    plaintext = secrets.token_bytes(100_000)
    context = {"purpose": "test", "ünï": "☃"}
    ciphertext, header = client.encrypt(
        source=plaintext, key_provider=strict, encryption_context=context, algorithm=suite
    )
    assert {key.key_provider.key_info.decode() for key in header.encrypted_data_keys} == set(arns)
    assert header.encryption_context.items() >= context.items()
    signs = "ECDSA" in suite.name
    assert ("aws-crypto-public-key" in header.encryption_context) == signs
    for provider in (
        strict,
        StrictAwsKmsMasterKeyProvider(
            key_ids=[arns[1]], botocore_session=sdk
        ),  # sealed by Encrypt, not GenerateDataKey
        DiscoveryAwsKmsMasterKeyProvider(botocore_session=sdk),
    ):
        opened, _ = client.decrypt(source=ciphertext, key_provider=provider)
        assert opened == plaintext
    wrong = StrictAwsKmsMasterKeyProvider(key_ids=[other], botocore_session=sdk)
    with pytest.raises(DecryptKeyError):
        client.decrypt(source=ciphertext, key_provider=wrong)
    # the signing suite's public key is bound like any other pair of the context
    blob, bound = next(iter(header.encrypted_data_keys)).encrypted_data_key, dict(header.encryption_context)
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=bound)["Plaintext"]
    if signs:
        del bound["aws-crypto-public-key"]
        assert refused(kms.decrypt, CiphertextBlob=blob, EncryptionContext=bound)[0] == "InvalidCiphertextException"


# --- call sequences


def test_terraform__a_key_and_its_alias(key_server: KeyServer) -> None:
    kms = key_server.client()
    text = policy(ADMINISTRATION)
    tags = [{"TagKey": "Name", "TagValue": "tf"}]
    made = kms.create_key(
        Description="tf", KeyUsage="ENCRYPT_DECRYPT", CustomerMasterKeySpec="SYMMETRIC_DEFAULT", Policy=text, Tags=tags,
        BypassPolicyLockoutSafetyCheck=False, MultiRegion=False,
    )["KeyMetadata"]  # fmt: skip
    key_id = made["KeyId"]
    kms.enable_key_rotation(KeyId=key_id)
    kms.disable_key(KeyId=key_id)
    for _ in range(15):  # it reads until the reads agree
        assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["Enabled"] is False
    assert json.loads(kms.get_key_policy(KeyId=key_id, PolicyName="default")["Policy"]) == json.loads(text)
    assert kms.get_key_rotation_status(KeyId=key_id)["KeyRotationEnabled"] is True
    assert kms.list_resource_tags(KeyId=key_id)["Tags"] == tags
    kms.enable_key(KeyId=key_id)
    kms.update_key_description(KeyId=key_id, Description="changed")
    kms.disable_key_rotation(KeyId=key_id)
    kms.untag_resource(KeyId=key_id, TagKeys=["Name"])

    kms.create_alias(AliasName="alias/tf", TargetKeyId=key_id)
    pages = kms.get_paginator("list_aliases").paginate(PaginationConfig={"PageSize": 1})
    found = next(each for page in pages for each in page["Aliases"] if each["AliasName"] == "alias/tf")
    assert found["TargetKeyId"] == key_id
    kms.update_alias(AliasName="alias/tf", TargetKeyId=kms.create_key()["KeyMetadata"]["Arn"])
    kms.delete_alias(AliasName="alias/tf")

    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=30)
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    code, message = refused(kms.schedule_key_deletion, KeyId=key_id, PendingWindowInDays=30)
    assert code == "KMSInvalidStateException"
    assert "is pending deletion" in message


@pytest.mark.parametrize(
    ("spec", "usage"),
    [("RSA_2048", "ENCRYPT_DECRYPT"), ("HMAC_256", "GENERATE_VERIFY_MAC"), ("ECC_NIST_P256", "SIGN_VERIFY")],
)
def test_terraform__reads_the_rotation_of_every_kind(key_server: KeyServer, spec: str, usage: str) -> None:
    kms = key_server.client()
    made = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
    assert kms.get_key_rotation_status(KeyId=made)["KeyRotationEnabled"] is False


def test_sops__encrypts_by_alias_and_decrypts_without_a_key_id(key_server: KeyServer) -> None:
    kms = key_server.client()
    made = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName="alias/sops", TargetKeyId=made["KeyId"])
    user = key_server.user(allow("kms:Encrypt", "kms:Decrypt", resource=made["Arn"]))
    data_key, context = secrets.token_bytes(32), {"Environment": "test"}
    for name in (made["Arn"], "alias/sops", made["Arn"].replace(f"key/{made['KeyId']}", "alias/sops")):
        sealed = user.kms.encrypt(KeyId=name, Plaintext=data_key, EncryptionContext=context)
        assert sealed["KeyId"] == made["Arn"]
        assert (
            user.kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=context)["Plaintext"]
            == data_key
        )
