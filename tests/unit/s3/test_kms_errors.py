"""What a key service could not do just now tells the client when to ask again."""

import pytest

from strongroom.aws.kms_errors import FAULTS
from strongroom.keys.provider import KeyServiceMisbehaved, KeyServiceRefusal, KeyServiceUnavailable
from strongroom.s3.kms_errors import KeyServiceError, s3_error


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [
        (KeyServiceUnavailable("it is away"), "1"),
        (KeyServiceUnavailable("it is away", retry_after=9), "9"),
        *((KeyServiceRefusal(code, ""), "1") for code in FAULTS),
    ],
)
def test_an_outage_and_a_fault_of_its_own(error: KeyServiceError, retry_after: str) -> None:
    told = s3_error(error)
    assert (told.status, told.code, dict(told.headers)) == (503, "ServiceUnavailable", {"Retry-After": retry_after})


@pytest.mark.parametrize("error", [KeyServiceMisbehaved("another key"), KeyServiceRefusal("DisabledException", "off")])
def test_what_waiting_does_not_mend(error: KeyServiceError) -> None:
    assert dict(s3_error(error).headers) == {}
