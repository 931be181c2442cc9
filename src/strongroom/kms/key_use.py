"""What every operation asks of a key before it uses it: is that what the key is for, and does the algorithm fit.

Whether the key may be used, by whom and in which state, has been decided before (kms/service.py). In AWS's order: usage,
then algorithm, then the dry run ends; only then is anything computed or opened.
"""

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.call import Kms, KmsCall
from strongroom.kms.key_specs import SPECS, SYMMETRIC
from strongroom.kms.records import Key

_UNAVAILABLE = {"ECC_NIST_EDWARDS25519": "ED25519_PH_SHA_512"}
"""Algorithms that AWS has for a spec and `cryptography` does not."""


def check_usage(call: KmsCall, kms: Kms, key: Key, usage: str) -> None:
    """Raises InvalidKeyUsageException for a key of another kind; data keys are made under symmetric keys only."""
    if key.usage != usage or (call.operation.startswith("GenerateDataKey") and key.spec != SYMMETRIC):
        raise KmsError(
            "InvalidKeyUsageException",
            f"{kms.key_arn(key.key_id)} key usage is {key.usage} which is not valid for {call.operation}.",
        )


def check_algorithm(key: Key, algorithm: str) -> None:
    """Raises InvalidKeyUsageException where a key of this spec has no such algorithm, UnsupportedOperationException where
    only AWS has it.
    """
    if algorithm == _UNAVAILABLE.get(key.spec):
        raise KmsError("UnsupportedOperationException", f"{algorithm} is not supported.")
    if algorithm not in SPECS[key.spec].algorithms[key.usage]:
        raise KmsError("InvalidKeyUsageException", f"Algorithm {algorithm} is incompatible with key spec {key.spec}.")


def stop_dry_run(call: KmsCall) -> None:
    """Ends a dry run: all that could be said about rights, usage and algorithm has been."""
    if call.input.get("DryRun"):
        raise KmsError("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
