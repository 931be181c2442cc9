"""Unmodified clients at work: each uploads, lists, reads, copies, uploads in parts, deletes; and what comes back is what went in."""

import filecmp
import os
import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server, unique_bucket

CLIENTS = Path(__file__).parents[2] / ".testenv" / "bin"
Run = Callable[..., str]


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Run:
    """Run a client with the environment that the AWS tools read; its standard output."""

    def call(*command: str, **environment: str) -> str:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))}
        finished = subprocess.run(
            [str(CLIENTS / command[0]), *command[1:]],
            cwd=tmp_path,
            env={
                **inherited,
                "HOME": str(tmp_path),
                "AWS_SHARED_CREDENTIALS_FILE": str(server.data_dir / "credentials"),
                "AWS_PROFILE": "strongroom",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": server.url,
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"
        return finished.stdout

    return call


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files that differ in size, and in what their names ask of a client."""
    root = tmp_path / "tree"
    for name, size in {
        "empty": 0,
        "one byte": 1,
        "sub/segment": 16384,
        "sub/päth/ünï ☃+&=%.bin": 70_001,
        "large.bin": 17 * 1024 * 1024 + 3,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(secrets.token_bytes(size))
    return root


def assert_same(left: Path, right: Path) -> None:
    names = sorted(str(path.relative_to(left)) for path in left.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(right)) for path in right.rglob("*") if path.is_file())
    _, different, broken = filecmp.cmpfiles(left, right, names, shallow=False)
    assert not different
    assert not broken


def test_aws_cli(run: Run, tree: Path, tmp_path: Path) -> None:
    bucket = unique_bucket()
    run("aws", "s3", "mb", f"s3://{bucket}")
    run("aws", "s3", "sync", str(tree), f"s3://{bucket}/tree")
    listing = run("aws", "s3", "ls", f"s3://{bucket}/tree/", "--recursive")
    assert str(17 * 1024 * 1024 + 3) in listing
    run("aws", "s3", "sync", f"s3://{bucket}/tree", str(tmp_path / "back"))
    assert_same(tree, tmp_path / "back")
    run("aws", "s3", "mv", f"s3://{bucket}/tree/large.bin", f"s3://{bucket}/moved.bin")
    run("aws", "s3", "rm", f"s3://{bucket}/tree", "--recursive")
    assert run("aws", "s3", "ls", f"s3://{bucket}/").split()[-1] == "moved.bin"
    run("aws", "s3", "rb", f"s3://{bucket}", "--force")


def test_aws_cli__sse_c_over_tls(run: Run, server: Server, tree: Path, tmp_path: Path) -> None:
    bucket = unique_bucket()
    key = tmp_path / "key"
    key.write_bytes(secrets.token_bytes(32))
    tls = {"AWS_ENDPOINT_URL": server.tls_url, "AWS_CA_BUNDLE": str(server.ca)}
    sse_c = ("--sse-c", "AES256", "--sse-c-key", f"fileb://{key}")
    run("aws", "s3", "mb", f"s3://{bucket}", **tls)
    run("aws", "s3", "cp", str(tree / "large.bin"), f"s3://{bucket}/large.bin", *sse_c, **tls)
    run("aws", "s3", "cp", f"s3://{bucket}/large.bin", str(tmp_path / "back"), *sse_c, **tls)
    assert (tmp_path / "back").read_bytes() == (tree / "large.bin").read_bytes()


def test_rclone(run: Run, server: Server, tree: Path, tmp_path: Path) -> None:
    bucket = unique_bucket()
    remote = {
        "RCLONE_CONFIG_R_TYPE": "s3",
        "RCLONE_CONFIG_R_PROVIDER": "Other",
        "RCLONE_CONFIG_R_ENV_AUTH": "true",
        "RCLONE_CONFIG_R_ENDPOINT": server.url,
        "RCLONE_CONFIG_R_REGION": "us-east-1",
        "RCLONE_CONFIG_R_UPLOAD_CUTOFF": "5Mi",
        "RCLONE_CONFIG_R_CHUNK_SIZE": "5Mi",
    }
    run("rclone", "mkdir", f"r:{bucket}", **remote)
    run("rclone", "sync", str(tree), f"r:{bucket}/tree", **remote)
    run("rclone", "check", "--download", str(tree), f"r:{bucket}/tree", **remote)
    run("rclone", "copyto", f"r:{bucket}/tree/large.bin", f"r:{bucket}/copy.bin", **remote)
    run("rclone", "copy", f"r:{bucket}/tree", str(tmp_path / "back"), **remote)
    assert_same(tree, tmp_path / "back")
    run("rclone", "purge", f"r:{bucket}", **remote)


def test_s3cmd(run: Run, server: Server, tree: Path, tmp_path: Path) -> None:
    bucket = unique_bucket()
    (tmp_path / "s3cmd.conf").write_text(
        f"[default]\naccess_key = {server.access_key_id}\nsecret_key = {server.secret}\n"
        f"host_base = 127.0.0.1:{server.port}\nhost_bucket = 127.0.0.1:{server.port}\nuse_https = False\n"
    )
    conf = ("-c", "s3cmd.conf")
    run("s3cmd", *conf, "mb", f"s3://{bucket}")
    run("s3cmd", *conf, "sync", "--multipart-chunk-size-mb=5", f"{tree}/", f"s3://{bucket}/tree/")
    (tmp_path / "back").mkdir()
    run("s3cmd", *conf, "sync", f"s3://{bucket}/tree/", "back/")
    assert_same(tree, tmp_path / "back")
    run("s3cmd", *conf, "cp", f"s3://{bucket}/tree/large.bin", f"s3://{bucket}/copy.bin")
    assert "copy.bin" in run("s3cmd", *conf, "ls", f"s3://{bucket}")
    run("s3cmd", *conf, "rb", "--recursive", "--force", f"s3://{bucket}")


def test_s5cmd(run: Run, server: Server, tree: Path, tmp_path: Path) -> None:
    bucket = unique_bucket()
    endpoint = ("--endpoint-url", server.url)
    run("s5cmd", *endpoint, "mb", f"s3://{bucket}")
    run("s5cmd", *endpoint, "cp", "--part-size", "5", f"{tree}/", f"s3://{bucket}/tree/")
    run("s5cmd", *endpoint, "cp", f"s3://{bucket}/tree/*", "back/")
    assert_same(tree, tmp_path / "back")
    run("s5cmd", *endpoint, "rm", f"s3://{bucket}/tree/*")
    run("s5cmd", *endpoint, "rb", f"s3://{bucket}")


OBSTORE = """
import sys
from obstore.store import S3Store
endpoint, key, secret, bucket, path = sys.argv[1:]
store = S3Store(bucket, endpoint=endpoint, access_key_id=key, secret_access_key=secret, region="us-east-1",
                virtual_hosted_style_request=False, client_options={"allow_http": True})
data = open(path, "rb").read()
store.put("large", data, use_multipart=True, chunk_size=5 << 20)
store.put("new", b"once", mode="create")
try:
    store.put("new", b"twice", mode="create")
except Exception as error:
    print(type(error).__name__)
assert bytes(store.get("large").bytes()) == data
assert bytes(store.get_range("large", start=16380, length=20)) == data[16380:16400]
store.copy("large", "copy")
assert sorted(item["path"] for page in store.list() for item in page) == ["copy", "large", "new"]
store.delete(["copy", "large", "new"])
assert [item for page in store.list() for item in page] == []
print("done")
"""


def test_obstore(run: Run, server: Server, s3: Any, tree: Path) -> None:
    bucket = unique_bucket()
    s3.create_bucket(Bucket=bucket)
    arguments = (server.url, server.access_key_id, server.secret, bucket, str(tree / "large.bin"))
    assert run("python", "-c", OBSTORE, *arguments).split() == ["AlreadyExistsError", "done"]
