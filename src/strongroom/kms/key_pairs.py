"""GenerateDataKeyPair and its sibling without plaintext: a key pair for use elsewhere, its private key sealed here.

The private key (DER PKCS #8) is sealed under the symmetric key as any data key is, and Decrypt opens it. The largest,
of RSA_4096, is below 2.5 KB as a blob: well within a CiphertextBlob's 6144 bytes and a Plaintext's 4096. Nothing of the
pair is kept.
"""

from strongroom.kms.blob import seal_blob
from strongroom.kms.call import Kms, KmsCall, Outcome
from strongroom.kms.key_specs import check_available, generate_material
from strongroom.kms.key_use import check_usage, stop_dry_run
from strongroom.kms.records import Key


def generate_data_key_pair(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    sealed, private_key = _generate(call, kms, key)
    return Outcome(output={**sealed.output, "PrivateKeyPlaintext": private_key}, facts=sealed.facts)


def generate_data_key_pair_without_plaintext(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    sealed, _ = _generate(call, kms, key)
    return sealed


def _generate(call: KmsCall, kms: Kms, key: Key) -> tuple[Outcome, bytes]:
    """What both answer, and the private key."""
    pair_spec: str = call.input["KeyPairSpec"]
    check_usage(call, kms, key, "ENCRYPT_DECRYPT")
    check_available(pair_spec)
    stop_dry_run(call)
    assert key.current_material_id is not None  # the state table lets no key without material through
    private_key, public_key = generate_material(pair_spec)
    material_id = key.current_material_id.hex()
    output = {
        "KeyId": kms.key_arn(key.key_id),
        "KeyPairSpec": pair_spec,
        "PublicKey": public_key,
        "PrivateKeyCiphertextBlob": seal_blob(kms, key, private_key, call.input.get("EncryptionContext")),
        "KeyMaterialId": material_id,
    }
    return Outcome(output=output, facts={"keyMaterialId": material_id}), private_key
