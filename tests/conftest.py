"""Fixtures that need the real server: one for each test process, a bucket of its own for each test."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.harness import Server, running, unique_bucket
from tests.key_service import KeyServer, serving

# The machine that runs the tests is busy with the others of them.
settings.register_profile("strongroom", deadline=None)
settings.load_profile("strongroom")


ALLOWED_SKIPS = {
    line.split()[0]
    for line in Path(__file__).with_name("allowed_skips.txt").read_text().splitlines()
    if line and not line.startswith("#")
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """In CI a skipped test is a failure, unless `allowed_skips.txt` names it."""
    report: pytest.TestReport = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and os.environ.get("CI") and item.nodeid.partition("[")[0] not in ALLOWED_SKIPS:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, and tests/allowed_skips.txt does not name it: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="session")
def s3(server: Server) -> Any:
    """boto3 over plain HTTP, path style. SSE-C needs `s3_tls`: SDKs refuse to send a key in the clear."""
    return server.s3()


@pytest.fixture(scope="session")
def s3_tls(server: Server) -> Any:
    return server.s3(tls=True)


@pytest.fixture(scope="session")
def key_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyServer]:
    """A key service on sockets, in this process: its store, its log and its people are real. S3 may ask it."""
    with serving(tmp_path_factory.mktemp("kms") / "data", for_s3=True) as server:
        yield server


@pytest.fixture
def bucket(s3: Any) -> str:
    name = unique_bucket()
    s3.create_bucket(Bucket=name)
    return name
