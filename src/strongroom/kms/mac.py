"""GenerateMac and VerifyMac: HMAC (RFC 2104) under keys of the HMAC specs, each of which has one algorithm."""

import hmac
from collections.abc import Mapping

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.call import Kms, KmsCall, Outcome
from strongroom.kms.key_use import check_algorithm, check_usage, stop_dry_run
from strongroom.kms.records import Key

_DIGESTS: Mapping[str, str] = {
    "HMAC_SHA_224": "sha224",
    "HMAC_SHA_256": "sha256",
    "HMAC_SHA_384": "sha384",
    "HMAC_SHA_512": "sha512",
}


def generate_mac(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    mac = _mac(call, kms, key)
    arn = kms.key_arn(key.key_id)
    return Outcome(output={"KeyId": arn, "Mac": mac, "MacAlgorithm": call.input["MacAlgorithm"]})


def verify_mac(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    """Raises KMSInvalidMacException for any MAC but the whole right one."""
    if not hmac.compare_digest(_mac(call, kms, key), call.input["Mac"]):
        raise KmsError("KMSInvalidMacException")
    arn = kms.key_arn(key.key_id)
    return Outcome(output={"KeyId": arn, "MacValid": True, "MacAlgorithm": call.input["MacAlgorithm"]})


def _mac(call: KmsCall, kms: Kms, key: Key) -> bytes:
    algorithm: str = call.input["MacAlgorithm"]
    check_usage(call, kms, key, "GENERATE_VERIFY_MAC")
    check_algorithm(key, algorithm)
    stop_dry_run(call)
    assert key.current_material_id is not None  # the state table lets no key without material through
    secret = kms.root.open_material(key, kms.state.materials[key.current_material_id])
    return hmac.digest(secret, call.input["Message"], _DIGESTS[algorithm])
