"""DescribeKey is shared as Decrypt is: by those who ask at the same time, and are the same."""

import asyncio
from dataclasses import replace

from strongroom.keys.aws_kms import LIMITS, AwsKms
from strongroom.keys.kms_endpoint import on_this_machine
from strongroom.keys.provider import KeyServiceRefusal
from tests.kms_stub import CREDENTIALS, KEY_ARN, REGION, Call, Refused, StubKms, listening, person

ANNA, BERT = person("anna"), person("bert")


def test_what_one_requester_is_told_of_a_key_is_told_to_no_other(tmp_path) -> None:
    def judge(call: Call) -> None:
        if call.requester != ANNA:
            raise Refused("AccessDeniedException")

    async def work() -> None:
        stub, path = StubKms(judge=judge), tmp_path / "kms.sock"
        provider = AwsKms(
            on_this_machine(path, CREDENTIALS, region=REGION), replace(LIMITS, retries=0, longest_pause=0.0)
        )
        try:
            async with listening(stub, path):
                asked = [provider.describe_key(KEY_ARN, who) for _ in range(20) for who in (ANNA, BERT)]
                answers = await asyncio.gather(*asked, return_exceptions=True)
        finally:
            await provider.close()
        assert not any(isinstance(answer, BaseException) for answer in answers[::2])
        assert {type(answer) for answer in answers[1::2]} == {KeyServiceRefusal}
        assert stub.seen("DescribeKey") == 2

    asyncio.run(work())
