"""How the key service finds our S3 service."""

from strongroom.identity.keys import service_credentials
from strongroom.identity.records import user_of_arn
from strongroom.identity.store import service_identity

ACCOUNT = "123456789012"


def test_the_s3_service_is_no_user_and_has_no_policies() -> None:
    found = service_identity(service_credentials(bytes(range(32))), ACCOUNT)
    assert (found.policies, found.is_root, found.principal.account_id) == ((), False, ACCOUNT)
    assert user_of_arn(found.principal.arn) is None
    assert not found.principal.arn.endswith(":root")
    assert found.credentials.secret_access_key not in repr(found)
