"""How a connector finds out that a key service is back: soon, and over connections of its own."""

import asyncio
import time
from dataclasses import replace

import pytest

from strongroom.keys.aws_kms import LIMITS, AwsKms
from strongroom.keys.kms_endpoint import on_this_machine
from strongroom.keys.provider import KeyServiceUnavailable
from tests.kms_stub import CREDENTIALS, KEY_ARN, REGION, StubKms, listening, person, waiting

ANNA = person("anna")


def test_a_probe_that_hangs_ends_long_before_a_call_does_and_uses_no_old_connection(tmp_path) -> None:
    limits = replace(LIMITS, total=20.0, retries=0, open_after=1, probe_every=0.05, probe=0.2)

    async def work() -> None:
        stub, path = StubKms(), tmp_path / "kms.sock"
        provider = AwsKms(on_this_machine(path, CREDENTIALS, region=REGION), limits)
        try:
            async with listening(stub, path):
                await provider.describe_key(KEY_ARN, ANNA)
            before = provider._session
            with pytest.raises(KeyServiceUnavailable):  # nobody is there
                await provider.describe_key(KEY_ARN, ANNA)
            await asyncio.sleep(limits.probe_every)
            gate = asyncio.Event()
            stub.script.append(waiting(gate))
            async with listening(stub, path):
                began = time.monotonic()
                with pytest.raises(KeyServiceUnavailable, match="TimeoutError"):
                    await provider.describe_key(KEY_ARN, ANNA)
                assert time.monotonic() - began < limits.total / 2
                assert provider._session is not before
                gate.set()
                await asyncio.sleep(limits.probe_every)
                await provider.describe_key(KEY_ARN, ANNA)
        finally:
            await provider.close()

    asyncio.run(work())
