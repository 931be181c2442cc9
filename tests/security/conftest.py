"""A second server, set up as a careful operator would, for what needs settings."""

import secrets
from collections.abc import Iterator

import pytest

from tests.harness import Server, running

DOMAIN = "s3.strongroom.test"


@pytest.fixture(scope="session")
def careful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Behind a trusted proxy at 127.0.0.1, with a domain; new buckets block SSE-C; everything is logged."""
    settings = {
        "STRONGROOM_TRUSTED_PROXIES": "127.0.0.1",
        "STRONGROOM_BLOCKS_SSE_C_BY_DEFAULT": "true",
        "STRONGROOM_DOMAIN": DOMAIN,
        "STRONGROOM_LOG_LEVEL": "debug",
        "STRONGROOM_LOG_FORMAT": "json",
    }
    with running(tmp_path_factory.mktemp("careful"), "--workers", "1", environment=settings) as server:
        yield server


@pytest.fixture
def customer_secret() -> bytes:
    """A customer's key."""
    return secrets.token_bytes(32)
