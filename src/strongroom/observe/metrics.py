"""The counters that Prometheus reads, summed over all worker processes.

Each process keeps its figures in files of its own in a directory that all share (prometheus_client's multiprocess
mode); whoever is asked reads them all. prometheus_client chooses where figures live when it is first imported, so the
directory is an environment variable that the server sets before that; without it figures live in memory, which is what
commands and tests want. Every label is bounded: operations and error codes are names of the official model, never what
a client sent.
"""

import os
from functools import lru_cache
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_process = "supervisor"
if DIRECTORY_VARIABLE in os.environ:
    # By slot, not by pid: a worker that is restarted goes on with its predecessor's files, so their number stays
    # bounded.
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: _process)  # type: ignore[no-untyped-call]

_REGISTRY = CollectorRegistry()
_requests = Counter("strongroom_requests", "Requests answered.", ["operation", "status"], registry=_REGISTRY)
_seconds = Histogram(
    "strongroom_request_seconds",
    "From the end of a request's head to the end of its answer.",
    ["operation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
    registry=_REGISTRY,
)
_bytes_in = Counter("strongroom_received_bytes", "Bytes of request bodies.", ["operation"], registry=_REGISTRY)
_bytes_out = Counter("strongroom_sent_bytes", "Bytes of response bodies.", ["operation"], registry=_REGISTRY)
_errors = Counter("strongroom_errors", "Answers that are errors.", ["code"], registry=_REGISTRY)
_integrity_errors = Counter(
    "strongroom_integrity_errors", "Damaged, swapped or forged data found. Any is an alarm.", registry=_REGISTRY
)
_deleted_blobs = Counter("strongroom_deleted_blobs", "Blobs removed after their grace.", registry=_REGISTRY)
_worker_restarts = Counter("strongroom_worker_restarts", "Processes that died and were restarted.", registry=_REGISTRY)

_kms_calls = Counter(
    "strongroom_kms_calls", "Calls to the key service as S3 makes them.", ["operation", "outcome"], registry=_REGISTRY
)
_kms_seconds = Histogram(
    "strongroom_kms_call_seconds",
    "From a call to the key service to its end, retries included.",
    ["operation"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=_REGISTRY,
)
_kms_retries = Counter(
    "strongroom_kms_retries", "Attempts after the first one of a call.", ["operation"], registry=_REGISTRY
)
_kms_breakers_open = Gauge(
    "strongroom_kms_breakers_open",
    "Processes that ask the key service nothing for the moment, because it does not answer.",
    registry=_REGISTRY,
    multiprocess_mode="sum",
)
_bucket_key_lookups = Counter(
    "strongroom_bucket_key_lookups",
    "Uses of bucket keys: `hit` without a call to the key service, `shared` by one that was under way, `miss` by one.",
    ["operation", "found"],
    registry=_REGISTRY,
)

KmsOutcome = Literal["ok", "refused", "throttled", "unavailable", "misbehaved", "cancelled"]


def become(process: str) -> None:
    """This process counts under the name `process`, which no other running process may have. Call it right after a
    fork.
    """
    global _process  # noqa: PLW0603 - which process this is, is a fact of the whole process
    _process = process


@lru_cache(maxsize=1024)
def _figures_of(operation: str, status: int) -> tuple[Counter, Histogram, Counter, Counter]:
    """Looked up once: prometheus_client's own look-up checks all labels anew, under a lock."""
    return (
        _requests.labels(operation, status),
        _seconds.labels(operation),
        _bytes_in.labels(operation),
        _bytes_out.labels(operation),
    )


def observe_request(operation: str, status: int, seconds: float, bytes_in: int, bytes_out: int) -> None:
    """One answered request. `operation`: a name of the model, or one of a few fixed words. Bytes of the bodies as on the wire."""
    requests, durations, received, sent = _figures_of(operation, status)
    requests.inc()
    durations.observe(seconds)
    if bytes_in:
        received.inc(bytes_in)
    if bytes_out:
        sent.inc(bytes_out)


def count_error(code: str) -> None:
    _errors.labels(code).inc()


def count_integrity_error() -> None:
    _integrity_errors.inc()


def count_deleted_blobs(number: int = 1) -> None:
    _deleted_blobs.inc(number)


def count_worker_restart() -> None:
    _worker_restarts.inc()


def observe_kms_call(operation: str, outcome: KmsOutcome, seconds: float) -> None:
    """One call of `operation` (a name of KMS's model), with all its attempts."""
    _kms_calls.labels(operation, outcome).inc()
    _kms_seconds.labels(operation).observe(seconds)


def count_kms_retry(operation: str) -> None:
    _kms_retries.labels(operation).inc()


def tell_kms_breaker(*, is_open: bool) -> None:
    _kms_breakers_open.set(is_open)


def count_bucket_key_lookup(operation: str, found: Literal["hit", "shared", "miss"]) -> None:
    """`operation`: GenerateDataKey for a write, Decrypt for a read."""
    _bucket_key_lookups.labels(operation, found).inc()


def exposition() -> bytes:
    """Everything in Prometheus's text format, of all processes where they share a directory."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if directory is None:
        return generate_latest(_REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, directory)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
