"""`strongroom key ...` against a running server: what the commands say to people and to programs, and what they refuse."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from strongroom.cli.main import app
from tests.harness import REGION, Server, running

Run = Callable[..., Result]
ACCOUNT = "000000000000"
ABSENT = "00000000-0000-0000-0000-000000000009"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("keys"), "--workers", "1") as server:
        yield server


@pytest.fixture
def run(server: Server, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("strongroom.cli.supervisor.harden_process", lambda: None)  # of the test process itself
    monkeypatch.setenv("STRONGROOM_DATA_DIR", str(server.data_dir))  # where it listens, no setting says
    return invoke


def invoke(*arguments: object, input: str | None = None) -> Result:
    return CliRunner().invoke(app, ["key", *(str(each) for each in arguments)], input=input)


def done(result: Result) -> str:
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def told(result: Result) -> Any:
    return json.loads(done(result))


def refused(result: Result) -> str:
    """The one sentence."""
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    (line,) = result.stderr.splitlines()
    return line.removeprefix("strongroom: ")


@pytest.fixture
def kms(server: Server) -> Any:
    return server.kms()


def test_create__prints_the_arn_and_the_alias_names_the_key(run: Run, kms: Any) -> None:
    arn = done(run("create", "--alias", "made", "--description", "for the test")).strip()
    metadata = kms.describe_key(KeyId="alias/made")["KeyMetadata"]
    assert (metadata["Arn"], metadata["Description"]) == (arn, "for the test")
    made = told(run("create", "--alias", "alias/made-too", "--json"))
    assert kms.describe_key(KeyId="alias/made-too")["KeyMetadata"]["KeyId"] == made["KeyId"]
    other = told(run("create", "--spec", "HMAC_256", "--usage", "GENERATE_VERIFY_MAC", "--json"))
    assert (other["KeySpec"], other["KeyUsage"]) == ("HMAC_256", "GENERATE_VERIFY_MAC")


def test_list__is_a_table_for_people_and_lines_of_json_for_programs(run: Run) -> None:
    made = told(run("create", "--alias", "listed", "--description", "on the list", "--json"))
    (row,) = [line for line in done(run("list")).splitlines() if made["KeyId"] in line]
    assert re.search(r"alias/listed .* Enabled .* SYMMETRIC_DEFAULT .* on the list", row)
    keys = {key["KeyId"]: key for key in map(json.loads, done(run("list", "--json")).splitlines())}
    assert keys[made["KeyId"]]["Aliases"] == ["alias/listed"]
    assert keys[made["KeyId"]]["KeyState"] == "Enabled"


def test_list__a_key_that_may_not_be_looked_at_hides_no_other(run: Run, kms: Any) -> None:
    """Whoever may make keys can give one a policy that keeps everybody else out, the root user too."""
    other = told(run("create", "--json"))
    statement = {"Effect": "Deny", "Principal": "*", "Action": "kms:DescribeKey", "Resource": "*"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    made = kms.create_key(Policy=text, BypassPolicyLockoutSafetyCheck=True)["KeyMetadata"]
    listed = done(run("list"))
    assert other["KeyId"] in listed
    (row,) = [line for line in listed.splitlines() if made["KeyId"] in line]
    assert "not told" in row
    keys = {key["KeyId"]: key for key in map(json.loads, done(run("list", "--json")).splitlines())}
    assert keys[made["KeyId"]] == {"KeyId": made["KeyId"], "Arn": made["Arn"], "Aliases": []}
    assert keys[other["KeyId"]]["KeyState"] == "Enabled"


@pytest.mark.parametrize("form", ["id", "arn", "alias", "alias arn"])
def test_every_command_takes_every_form_of_a_key(run: Run, kms: Any, form: str, tmp_path: Path) -> None:
    name = f"alias/form-{form.replace(' ', '-')}"
    made = told(run("create", "--alias", name, "--json"))
    key = {
        "id": made["KeyId"],
        "arn": made["Arn"],
        "alias": name,
        "alias arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:{name}",
    }[form]

    def state() -> str:
        return str(kms.describe_key(KeyId=made["KeyId"])["KeyMetadata"]["KeyState"])

    assert told(run("describe", key, "--json"))["KeyId"] == made["KeyId"]
    assert f"KeyId                    {made['KeyId']}" in done(run("describe", key)).splitlines()
    before = made["CurrentKeyMaterialId"]
    assert "Everything sealed before still opens" in done(run("rotate", key))
    rotated = told(run("rotate", key, "--json"))
    assert rotated["KeyId"] == made["KeyId"]
    assert before != rotated["CurrentKeyMaterialId"] == told(run("describe", key, "--json"))["CurrentKeyMaterialId"]
    assert done(run("disable", key)) == ""
    assert state() == "Disabled"
    assert done(run("enable", key)) == ""
    assert state() == "Enabled"
    text = done(run("schedule-deletion", key, "--days", "7"))
    assert f"strongroom key cancel-deletion {key}" in text
    assert state() == "PendingDeletion"
    assert "The key stays, disabled" in done(run("cancel-deletion", key))
    assert state() == "Disabled"
    deletion = told(run("schedule-deletion", key, "--json"))
    assert deletion["PendingWindowInDays"] == 30
    done(run("cancel-deletion", key))
    policy = json.loads(done(run("policy", "get", key)))
    policy["Id"] = "changed"
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    done(run("policy", "put", key, tmp_path / "policy.json"))
    assert json.loads(done(run("policy", "get", key)))["Id"] == "changed"
    policy["Id"] = "again"
    done(run("policy", "put", key, "-", input=json.dumps(policy)))
    assert json.loads(done(run("policy", "get", key)))["Id"] == "again"
    assert done(run("usage", key)) == f"Nothing hangs on {made['Arn']}.\n"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("describe", ABSENT), f"NotFoundException: Key 'arn:aws:kms:{REGION}:{ACCOUNT}:key/{ABSENT}' does not exist"),
        (("rotate", ABSENT), f"NotFoundException: Key 'arn:aws:kms:{REGION}:{ACCOUNT}:key/{ABSENT}' does not exist"),
        (("disable", "alias/no"), f"NotFoundException: Alias arn:aws:kms:{REGION}:{ACCOUNT}:alias/no is not found."),
        (("usage", "alias/no"), f"NotFoundException: Alias arn:aws:kms:{REGION}:{ACCOUNT}:alias/no is not found."),
        (("create", "--spec", "NONSENSE"), "ValidationException: 1 validation error detected"),
        (("create", "--spec", "HMAC_256"), "ValidationException"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_refusal_is_one_sentence_in_the_kmss_words(run: Run, command: tuple[str, ...], sentence: str) -> None:
    assert refused(run(*command)).startswith(sentence)


@pytest.mark.parametrize(
    ("alias", "why"),
    [
        ("pay roll", "'alias/pay roll' can't be an alias"),
        ("pay:roll", "'alias/pay:roll' can't be an alias"),
        ("aws/mine", "names that begin with alias/aws/ are the KMS's"),
    ],
)
def test_no_key_is_made_for_an_alias_that_it_can_not_have(run: Run, kms: Any, alias: str, why: str) -> None:
    before = len(kms.list_keys()["Keys"])
    assert why in refused(run("create", "--alias", alias))
    assert len(kms.list_keys()["Keys"]) == before


def test_what_is_no_json_is_pointed_at(run: Run, tmp_path: Path) -> None:
    key = told(run("create", "--json"))["KeyId"]
    policy = tmp_path / "policy.json"
    for content, why in (
        (b'{"Version": "2012-10-17",\n "Statement" []}', "is not JSON: Expecting ':' delimiter (line 2, column 14)"),
        (b"\xd0\xff", "is not a text file (UTF-8)"),
        (b"[" * 100_000, "is no policy: it is nested too deeply"),
        (b" " * (1 << 21), "is too long for a policy"),
    ):
        policy.write_bytes(content)
        assert refused(run("policy", "put", key, policy)) == f"{policy} {why}"
    assert refused(run("policy", "put", key, "-", input="")).startswith("standard input is not JSON")


def test_a_policy_that_locks_everybody_out_is_refused_as_by_aws(run: Run, tmp_path: Path) -> None:
    key = told(run("create", "--json"))["KeyId"]
    (tmp_path / "policy.json").write_text('{"Version": "2012-10-17", "Statement": []}')
    assert refused(run("policy", "put", key, tmp_path / "policy.json")).startswith("MalformedPolicyDocumentException")
    assert "can't be used: No such file or directory" in refused(run("policy", "put", key, tmp_path / "absent.json"))


def test_a_window_that_aws_does_not_know_is_refused_before_anything_is_asked(run: Run) -> None:
    key = told(run("create", "--json"))["KeyId"]
    result = run("schedule-deletion", key, "--days", "6")
    assert result.exit_code == 2
    assert told(run("describe", key, "--json"))["KeyState"] == "Enabled"


def test_without_a_kms_it_says_so(run: Run, server: Server) -> None:
    url = "http://127.0.0.1:9"
    sentence = refused(run("list", "--endpoint-url", url))
    assert sentence.startswith(f"the KMS at {url} does not answer (")
    assert sentence.endswith(f"is `strongroom serve` running on {server.data_dir}?")
    assert sentence == refused(run("create", "--endpoint-url", url))


@pytest.fixture
def elsewhere(server: Server, tmp_path: Path) -> Path:
    """A directory with the credentials of the store, where no KMS runs."""
    shutil.copy(server.data_dir / "credentials", tmp_path)
    return tmp_path


def test_where_no_kms_runs_it_goes_by_the_settings(
    run: Run, server: Server, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{server.kms_port}"
    monkeypatch.setenv("STRONGROOM_KMS_LISTEN", url.removeprefix("http://"))
    assert done(run("list", "--data-dir", elsewhere))
    monkeypatch.setenv("STRONGROOM_KMS_LISTEN", "off")
    sentence = refused(run("list", "--data-dir", elsewhere))
    assert sentence == "kms_listen is off: say where the KMS answers with --endpoint-url"
    assert done(run("list", "--data-dir", elsewhere, "--endpoint-url", url))


def test_what_is_no_kms_is_told(run: Run, server: Server) -> None:
    assert refused(run("list", "--endpoint-url", server.url)) == f"what answers at {server.url} is no KMS (status 405)"
    sentence = refused(run("list", "--endpoint-url", f"127.0.0.1:{server.kms_port}"))
    assert sentence.endswith("is no address of a KMS: it begins with http:// or https://")
    assert refused(run("list", "--endpoint-url", "http://::")) == "Invalid endpoint: http://::"


def test_what_other_aws_programs_are_told_does_not_matter(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("no configuration")
    for name, value in {
        "AWS_PROFILE": "absent",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "config"),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    assert done(run("list"))


def test_credentials_are_found_and_never_made(run: Run, elsewhere: Path, server: Server) -> None:
    url = f"http://127.0.0.1:{server.kms_port}"
    (elsewhere / "credentials").chmod(0o644)
    assert "chmod 600" in refused(run("list", "--data-dir", elsewhere, "--endpoint-url", url))
    (elsewhere / "credentials").unlink()
    assert refused(run("list", "--data-dir", elsewhere, "--endpoint-url", url)) == (
        f"there are no root credentials in {elsewhere}/credentials, nor in the environment: is a store in {elsewhere}?"
    )
    assert list(elsewhere.iterdir()) == []


def test_another_stores_credentials_are_told(run: Run, elsewhere: Path, server: Server) -> None:
    (elsewhere / "credentials").write_text(
        "[strongroom]\naws_access_key_id = ANOTHER\naws_secret_access_key = something-else-altogether\n"
    )
    sentence = refused(run("list", "--data-dir", elsewhere, "--endpoint-url", f"http://127.0.0.1:{server.kms_port}"))
    assert sentence.startswith("UnrecognizedClientException")
    assert sentence.endswith(f"does not know the credentials in {elsewhere}: is it another store's?")
    assert "something-else" not in sentence


def test_no_store_is_told(run: Run, tmp_path: Path) -> None:
    assert refused(run("list", "--data-dir", tmp_path / "absent")) == (
        f"{tmp_path}/absent is no directory: there is no store in it"
    )
    assert not (tmp_path / "absent").exists()


def test_usage__counts_versions_and_bucket_keys_by_material(run: Run, server: Server) -> None:
    s3 = server.s3()
    key = told(run("create", "--alias", "counted", "--json"))
    s3.create_bucket(Bucket="counted")
    s3.put_bucket_versioning(Bucket="counted", VersioningConfiguration={"Status": "Enabled"})
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/counted"}
    for name, more in (
        ("plain", {}),
        ("plain", {}),  # a second version
        ("by-bucket-key", {"BucketKeyEnabled": True}),
        ("by-bucket-key-too", {"BucketKeyEnabled": True}),
    ):
        s3.put_object(Bucket="counted", Key=name, Body=bytes(100), **encryption, **more)
    s3.put_object(
        Bucket="counted", Key="double", Body=bytes(7), SSEKMSKeyId=key["Arn"], ServerSideEncryption="aws:kms:dsse"
    )
    first = key["CurrentKeyMaterialId"]
    second = told(run("rotate", "alias/counted", "--json"))["CurrentKeyMaterialId"]
    s3.put_object(Bucket="counted", Key="after", Body=bytes(5), **encryption)
    s3.create_multipart_upload(Bucket="counted", Key="open", **encryption)
    rows = {
        row["material_id"]: row for row in map(json.loads, done(run("usage", "alias/counted", "--json")).splitlines())
    }
    assert {(m, r["objects"], r["size"], r["by_bucket_key"], r["uploads"]) for m, r in rows.items()} == {
        (first, 5, 407, 2, 0),
        (second, 1, 5, 0, 1),
    }
    table = done(run("usage", key["KeyId"])).splitlines()
    assert key["Arn"] in table[0]
    (row,) = [line for line in table if first in line]
    assert re.findall(r"\b\d+\b", row.replace(first, "")) == ["5", "407", "2", "0"]
