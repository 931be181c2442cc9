"""Which key service S3 asks, how it is reached, and what it does for the store key.

The KMS of this data directory behind its socket, or Amazon's. Amazon's judges this server and not the person, so the
person is judged here first.
"""

from functools import lru_cache

from strongroom.config import Settings
from strongroom.identity.files import require_key
from strongroom.identity.keys import service_credentials
from strongroom.identity.records import IdentityError
from strongroom.keys import aws_kms_blocking
from strongroom.keys.aws_credentials import BotocoreCredentials
from strongroom.keys.kms_endpoint import KmsEndpoint, ServiceCredentials, at_amazon, on_this_machine
from strongroom.keys.provider import ARN_PAIR, DataKey, SealedKey
from strongroom.keys.store_keys import GenerateSealed, OpenSealed
from strongroom.server.paths import Paths, StartError

_STORE_KEY_CONTEXT = {ARN_PAIR: "arn:aws:s3:::", "strongroom:purpose": "store-key"}
_REMEMBERED = 2  # store keys: the one in force, and the one before it during a rotation


def key_endpoint(settings: Settings, paths: Paths) -> KmsEndpoint:
    """Raises StartError."""
    if settings.kms_endpoint != "own":
        return at_amazon(settings.kms_endpoint, BotocoreCredentials(), region=settings.region)
    try:
        credentials = service_credentials(require_key(paths.identity))
    except IdentityError as error:
        raise StartError(f"The users in {paths.data_dir} can't be read: {error}") from error
    return on_this_machine(
        paths.kms_socket,
        ServiceCredentials(access_key_id=credentials.access_key_id, secret_access_key=credentials.secret_access_key),
        region=settings.region,
    )


def store_key_service(settings: Settings, paths: Paths) -> tuple[GenerateSealed, OpenSealed]:
    """What makes and what opens store keys. The key service is asked when they are called, and blocks."""

    @lru_cache(maxsize=1)
    def endpoint() -> KmsEndpoint:
        return key_endpoint(settings, paths)

    def generate() -> DataKey:
        return aws_kms_blocking.generate_data_key(endpoint(), settings.store_key_kms_key, _STORE_KEY_CONTEXT)

    # Remembered, because a worker that follows a rotation reads all keys again, and must not need the key service for
    # what it has opened.
    @lru_cache(maxsize=_REMEMBERED)
    def open_sealed(sealed: SealedKey) -> bytes:
        return aws_kms_blocking.decrypt(
            endpoint(), sealed.key_arn, sealed.ciphertext_blob, _STORE_KEY_CONTEXT
        ).plaintext

    return generate, open_sealed
