"""Nothing of an object under a key service can be read in what the server keeps, and no data key lies there in clear."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.keys.provider import DataKey
from tests.harness import Server, unique_bucket
from tests.kms_serving import serving_kms
from tests.matrix.test_plaintext_at_rest import KEY_NAME, Secrets, described, forms, grep, write_through_every_verb
from tests.matrix.verbs import MIB, Mode, Upload
from tests.memory_kms import MemoryKms


class Told(MemoryKms):
    """It keeps every key that it ever made or opened, so that the test can look for it."""

    plaintexts: set[bytes]

    async def generate_data_key(self, *args) -> DataKey:
        return self._keep(await super().generate_data_key(*args))

    async def decrypt(self, *args) -> DataKey:
        return self._keep(await super().decrypt(*args))

    def _keep(self, data_key: DataKey) -> DataKey:
        self.plaintexts.add(data_key.plaintext)
        return data_key


@pytest.fixture
def kms() -> Told:
    made = Told()
    made.plaintexts = set()
    return made


@pytest.fixture
def server(kms: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "server.log").write_text("")
    with serving_kms(tmp_path, kms) as started:
        yield started


@pytest.mark.parametrize("name", ["SSE-KMS", "bucket-key", "DSSE"])
def test_nothing_that_was_stored_can_be_read(kms: Told, server: Server, tmp_path: Path, name: str) -> None:
    mode = Mode(kms_key=kms.create(), bucket_key=name == "bucket-key", dsse=name == "DSSE")
    hidden, bucket = Secrets(), unique_bucket()
    server.s3().create_bucket(Bucket=bucket)
    server.s3().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    server.s3().put_bucket_tagging(
        Bucket=bucket, Tagging={"TagSet": [{"Key": hidden.marker("tag-key"), "Value": hidden.marker("tag")}]}
    )
    write_through_every_verb(server, bucket, name, mode, hidden)
    upload = Upload.begin(server, bucket, f"{KEY_NAME}-{name}-open", mode, headers=described(hidden))
    upload.send_part(1, hidden.body(5 * MIB))
    check(server, hidden, kms, tmp_path)
    for version in server.s3().list_object_versions(Bucket=bucket)["Versions"]:
        server.s3().delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    check(server, hidden, kms, tmp_path)


def check(server: Server, hidden: Secrets, kms: Told, directory: Path) -> None:
    for number, plaintext in enumerate(kms.plaintexts):
        hidden.values[f"data key {number}"] = plaintext
    assert kms.plaintexts
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) > 10 * MIB
    assert any(KEY_NAME.encode() in path.read_bytes() for path in files)  # the search finds what is readable
    for path in grep(hidden.patterns(), files):
        raise AssertionError(f"{path} holds {hidden.found_in(path.read_bytes())}")


def test_the_search_finds_a_data_key(tmp_path: Path) -> None:
    hidden, key = Secrets(), secrets.token_bytes(32)
    hidden.values["data key"] = key
    for form in forms(key):
        (tmp_path / "file").write_bytes(b"..." + form)
        assert "data key" in hidden.found_in((tmp_path / "file").read_bytes())
