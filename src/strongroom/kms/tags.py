"""Tags of keys (ABAC): TagResource, UntagResource, ListResourceTags."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace as changed

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.call import Kms, KmsCall, Outcome
from strongroom.kms.paging import page
from strongroom.kms.records import Key, Tags
from strongroom.kms.state import Put

_MOST = 50


def new_tags(before: Tags, given: Iterable[Mapping[str, Any]]) -> Tags:
    """`before` with what is given. Raises TagException."""
    pairs = [(tag["TagKey"], tag["TagValue"]) for tag in given]
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise KmsError("TagException", "Duplicate tag keys")
    if any(name.lower().startswith("aws:") for name in names):
        raise KmsError("TagException", "Tags beginning with aws: are reserved")
    merged = {**dict(before), **dict(pairs)}
    if len(merged) > _MOST:
        raise KmsError("TagException", "Too many tags")
    return tuple(merged.items())


def tag_resource(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    del kms
    return Outcome(changes=(Put(changed(key, tags=new_tags(key.tags, call.input["Tags"]))),))


def untag_resource(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    del kms
    gone = set(call.input["TagKeys"])
    return Outcome(changes=(Put(changed(key, tags=tuple(pair for pair in key.tags if pair[0] not in gone))),))


def list_resource_tags(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    del kms

    def show(pair: tuple[str, str]) -> dict[str, str]:
        return {"TagKey": pair[0], "TagValue": pair[1]}

    return Outcome(
        output=page(call.input, key.tags, lambda pair: pair[0], member="Tags", show=show, default=50, most=50)
    )
