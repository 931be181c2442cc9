"""What the server says when it is ready: where everything is, that encryption was proved, and lines to paste into a
shell.

Pure text; the tests run the lines.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.config import Address

if TYPE_CHECKING:
    from strongroom.server.proof import Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """`data_dir` is absolute. `keys`: where what opens everything is, for people. `proof` None: the disk is too full for one."""

    version: str
    region: str
    workers: int
    data_dir: Path
    keys: str
    credentials: Path | None  # None: they came from the environment
    plain: Address | None
    tls: Address | None
    tls_is_private: bool
    metrics: Address | None
    kms: Address | None
    kms_tls: Address | None
    proof: "Proof | None"


def banner(facts: Facts) -> str:
    trust = f"  (clients trust {facts.data_dir / 'ca.pem'})" if facts.tls_is_private else ""
    rows = [
        ("S3", f"http://{facts.plain}" if facts.plain else ""),
        ("S3 over TLS", f"https://{facts.tls}{trust}" if facts.tls else ""),
        ("KMS", f"http://{facts.kms}" if facts.kms else ""),
        ("KMS over TLS", f"https://{facts.kms_tls}{trust}" if facts.kms_tls else ""),
        ("Metrics", f"http://{facts.metrics}/metrics" if facts.metrics else ""),
        ("Data", str(facts.data_dir)),
        ("Keys", f"{facts.keys}"),
        ("", "(keep copies elsewhere: a lost key is lost data)"),
        ("Credentials", f"{facts.credentials or 'from the environment'}"),
        ("Encryption", _encryption(facts.proof)),
    ]
    head = f"Strongroom {facts.version} is ready: region {facts.region}, {_count(facts.workers, 'worker')}."
    table = "\n".join(f"  {name:<12} {text}" for name, text in rows if text)
    lines = "\n".join(f"  {line}" for line in client_lines(facts))
    return f"{head}\n{table}\n\nWhat to back up: docs/operations/backup.md. To try it, paste:\n{lines}\n"


def _encryption(proof: "Proof | None") -> str:
    if proof is None:
        return "on; not proved this time: the disk is full, and uploads are refused"
    return (
        f"on, and proved: {proof.object_bytes:,} bytes were stored and all {proof.stored_bytes:,} bytes on disk "
        f"are ciphertext ({proof.seconds * 1000:.0f} ms)"
    )


def client_lines(facts: Facts) -> tuple[str, ...]:
    """Shell commands that work as they stand, in any directory, with aws-cli and boto3 installed."""
    if facts.plain is not None:
        endpoint, trust = f"http://{reachable(facts.plain)}", ""
    else:
        assert facts.tls is not None
        endpoint = f"https://{reachable(facts.tls)}"
        trust = f" AWS_CA_BUNDLE={shlex.quote(str(facts.data_dir / 'ca.pem'))}" if facts.tls_is_private else ""
    if facts.credentials is not None:
        who = f"AWS_SHARED_CREDENTIALS_FILE={shlex.quote(str(facts.credentials))} AWS_PROFILE=strongroom"
    else:
        who = (
            'AWS_ACCESS_KEY_ID="$STRONGROOM_ROOT_ACCESS_KEY_ID" '
            'AWS_SECRET_ACCESS_KEY="$STRONGROOM_ROOT_SECRET_ACCESS_KEY"'
        )
    if facts.kms is not None:
        endpoint += f" AWS_ENDPOINT_URL_KMS=http://{facts.kms}"
    return (
        f"export {who}",
        f"export AWS_ENDPOINT_URL={endpoint} AWS_DEFAULT_REGION={facts.region}{trust}",
        f"aws s3 mb s3://demo && date | aws s3 cp - s3://demo/hello.txt{_sse(facts)} && aws s3 ls s3://demo",
        'python3 -c \'import boto3; print(boto3.client("s3").list_buckets()["Buckets"])\'',
    )


def _sse(facts: Facts) -> str:
    """Under a key of the KMS, where the commands reach it."""
    return " --sse aws:kms" if facts.kms is not None else ""


def reachable(address: Address) -> Address:
    """An address to connect to: a server that listens everywhere is reached here."""
    return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host), address.port)  # noqa: S104


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
