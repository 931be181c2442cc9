"""A key of the process's key service; a service of its own for each test that winds the clock."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.key_service import KeyServer, serving


@pytest.fixture(scope="session")
def kms(key_server: KeyServer) -> Any:
    """The root user's client."""
    return key_server.client()


@pytest.fixture
def key(kms: Any) -> dict[str, Any]:
    """KeyMetadata of a new symmetric key."""
    metadata: dict[str, Any] = kms.create_key()["KeyMetadata"]
    return metadata


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[KeyServer]:
    """For a test that winds the clock, or that looks at everything there is."""
    with serving(tmp_path / "data") as server:
        yield server
