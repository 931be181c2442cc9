"""Every encryption, on the server that a module's tests run against; what is under the KMS, under a new key of its own."""

import pytest

from tests.harness import Server, new_key
from tests.matrix.verbs import MODES, Mode, modes_under


@pytest.fixture(scope="module")
def modes(server: Server) -> dict[str, Mode]:
    return modes_under(new_key(server.kms()))


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, modes: dict[str, Mode]) -> Mode:
    return modes[request.param]
