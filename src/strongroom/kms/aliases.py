"""Aliases: names that can be moved from key to key. They belong to the account, never to the key they point at."""

import re

from msgspec.structs import replace as changed

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.call import Kms, KmsCall, Outcome
from strongroom.kms.paging import page
from strongroom.kms.records import Alias, Key
from strongroom.kms.state import Put, Remove

_MOST = 50  # of one key
_NAME = re.compile(r"alias/[a-zA-Z0-9/_-]+")
_PREFIX = (
    'Alias must start with the prefix "alias/". Please see'
    " https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"
)


def check_new_alias(name: str) -> None:
    """Before anything else of it is judged. Raises ValidationException, NotAuthorizedException, InvalidAliasNameException."""
    if not name.startswith("alias/"):
        raise KmsError("ValidationException", _PREFIX)
    if name.startswith("alias/aws/"):
        raise KmsError("NotAuthorizedException")
    if name == "alias/":
        raise KmsError("InvalidAliasNameException", "Alias name must not be empty.")
    if _NAME.fullmatch(name) is None:
        raise KmsError("ValidationException", f"{name} contains invalid characters for an alias")


def create_alias(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    name = call.input["AliasName"]
    if name in kms.state.aliases:
        raise KmsError("AlreadyExistsException", f"An alias with the name {kms.alias_arn(name)} already exists")
    _check_number(kms, key)
    alias = Alias(name=name, target_key_id=key.key_id, created_us=call.now_us, updated_us=call.now_us)
    return Outcome(changes=(Put(alias),))


def update_alias(call: KmsCall, kms: Kms, key: Key, before: Key) -> Outcome:
    """`before`: the key that the alias pointed at; the new one must be of its kind."""
    alias = kms.state.aliases[call.input["AliasName"]]
    if (_kind(before), before.usage) != (_kind(key), key.usage):
        raise KmsError(
            "ValidationException",
            f"Alias {kms.alias_arn(alias.name)} cannot be changed to a key of another type or usage.",
        )
    if before.key_id != key.key_id:
        _check_number(kms, key)
    return Outcome(changes=(Put(changed(alias, target_key_id=key.key_id, updated_us=call.now_us)),))


def delete_alias(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    del kms, key
    return Outcome(changes=(Remove("alias", call.input["AliasName"]),))


def list_aliases(call: KmsCall, kms: Kms, key: Key | None = None) -> Outcome:
    """Of the account, or of one key."""

    def show(alias: Alias) -> dict[str, object]:
        return {
            "AliasName": alias.name,
            "AliasArn": kms.alias_arn(alias.name),
            "TargetKeyId": alias.target_key_id,
            "CreationDate": alias.created_us / 1e6,
            "LastUpdatedDate": alias.updated_us / 1e6,
        }

    aliases = kms.state.aliases.values() if key is None else kms.state.aliases_of(key.key_id)
    return Outcome(
        output=page(call.input, aliases, lambda alias: alias.name, member="Aliases", show=show, default=50, most=100)
    )


def _kind(key: Key) -> str:
    """Symmetric, HMAC or asymmetric: what UpdateAlias keeps apart."""
    return "SYMMETRIC" if key.spec == "SYMMETRIC_DEFAULT" else "HMAC" if key.spec.startswith("HMAC") else "ASYMMETRIC"


def _check_number(kms: Kms, key: Key) -> None:
    if sum(1 for _ in kms.state.aliases_of(key.key_id)) >= _MOST:
        raise KmsError("LimitExceededException", f"The key {kms.key_arn(key.key_id)} has {_MOST} aliases already.")
