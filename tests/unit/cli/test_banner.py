import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.cli.banner import Facts, banner, client_lines
from strongroom.config import Address
from strongroom.server.proof import Proof

FACTS = Facts(
    version="1.2.3",
    region="us-east-1",
    workers=2,
    data_dir=Path("/srv/my data"),
    keys="/srv/my data/keys",
    credentials=Path("/srv/my data/credentials"),
    plain=Address("127.0.0.1", 9000),
    tls=Address("::", 9443),
    tls_is_private=True,
    metrics=None,
    kms=Address("127.0.0.1", 9001),
    kms_tls=Address("192.0.2.7", 9444),
    proof=Proof(object_bytes=100_000, stored_bytes=100_168, seconds=0.0123),
)


def test_it_says_where_everything_is_and_that_encryption_was_proved() -> None:
    told = banner(FACTS)
    assert "Strongroom 1.2.3 is ready: region us-east-1, 2 workers." in told
    assert "https://[::]:9443  (clients trust /srv/my data/ca.pem)" in told
    assert "100,000 bytes were stored and all 100,168 bytes on disk are ciphertext (12 ms)" in told
    assert "Keys         /srv/my data/keys\n               (keep copies elsewhere: a lost key is lost data)\n" in told
    assert "KMS          http://127.0.0.1:9001\n" in told
    assert "KMS over TLS https://192.0.2.7:9444  (clients trust /srv/my data/ca.pem)" in told
    assert "Metrics" not in told
    assert told.rstrip().endswith(client_lines(FACTS)[-1])


def test_a_proof_that_a_full_disk_prevented_is_not_claimed() -> None:
    told = banner(dataclasses.replace(FACTS, proof=None))
    assert "Encryption   on; not proved this time: the disk is full, and uploads are refused\n" in told


def environment(facts: Facts, **environ: str) -> dict[str, str]:
    """What the lines to paste leave in a shell's environment."""
    exports = "\n".join(line for line in client_lines(facts) if line.startswith("export"))
    done = subprocess.run(
        ["/bin/sh", "-euc", f"{exports}\nenv -0"],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line)


def test_the_lines_set_up_a_client() -> None:
    told = environment(FACTS)
    assert told["AWS_SHARED_CREDENTIALS_FILE"] == "/srv/my data/credentials"
    assert told["AWS_PROFILE"] == "strongroom"
    assert told["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9000"
    assert told["AWS_ENDPOINT_URL_KMS"] == "http://127.0.0.1:9001"
    assert told["AWS_DEFAULT_REGION"] == "us-east-1"
    assert "AWS_CA_BUNDLE" not in told


def test_without_plain_http_the_lines_use_tls_and_trust_the_private_ca() -> None:
    only_tls = dataclasses.replace(FACTS, plain=None)
    told = environment(only_tls)
    assert told["AWS_ENDPOINT_URL"] == "https://[::1]:9443"
    assert told["AWS_CA_BUNDLE"] == "/srv/my data/ca.pem"
    assert "AWS_CA_BUNDLE" not in environment(dataclasses.replace(only_tls, tls_is_private=False))


def test_credentials_of_the_environment_are_taken_from_there() -> None:
    told = environment(
        dataclasses.replace(FACTS, credentials=None),
        STRONGROOM_ROOT_ACCESS_KEY_ID="operator",
        STRONGROOM_ROOT_SECRET_ACCESS_KEY="it's a $ecret",
    )
    assert (told["AWS_ACCESS_KEY_ID"], told["AWS_SECRET_ACCESS_KEY"]) == ("operator", "it's a $ecret")


@pytest.mark.parametrize("line", client_lines(FACTS))
def test_every_line_is_one_that_a_shell_can_read(line) -> None:
    assert shlex.split(line)


def test_the_lines_work_when_they_are_pasted(tmp_path) -> None:
    """The real server, the real clients, and the text between them exactly as printed."""
    clients = Path(__file__).parents[3] / ".testenv/bin"
    program = [Path(sys.executable).with_name("strongroom"), "serve", "--data-dir", tmp_path / "my data"]
    ports = ["--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0", "--listen-metrics", "off", "--workers", "1"]
    ports += ["--kms-listen", "127.0.0.1:0"]
    with subprocess.Popen([*program, *ports], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            told = ""
            while "import boto3" not in told:
                told += (line := server.stdout.readline())
                assert line, told
            lines = told.partition("paste:\n")[2]
            path = f"{Path(sys.executable).parent}:{clients}:{os.environ['PATH']}"
            pasted = subprocess.run(
                ["/bin/sh", "-euc", lines],
                env={"PATH": path, "HOME": str(tmp_path)},
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            server.terminate()
    assert pasted.returncode == 0, pasted.stderr
    assert "hello.txt" in pasted.stdout
    assert "'Name': 'demo'" in pasted.stdout
    assert server.returncode == 0
