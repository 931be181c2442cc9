"""All that the key service knows, in memory: read and authenticated once at its start, then the only truth it answers
from.

The database is written and never asked again, so that whoever edits it while the service runs changes nothing. Changes
are values; whoever has them made durable applies them here. This module opens nothing and decides nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from strongroom.kms.records import Alias, Grant, Key, Kind, LastUsage, Material, Record, identity_of


@dataclass(frozen=True, slots=True)
class Put:
    """Write a record, in place of the one of the same identity."""

    record: Record


@dataclass(frozen=True, slots=True)
class Remove:
    kind: Kind
    record_id: str


Change = Put | Remove


class State:
    """Look-ups by identity and by what belongs together. Everything it gives is frozen."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.keys: dict[str, Key] = {}
        self.materials: dict[bytes, Material] = {}
        self.aliases: dict[str, Alias] = {}
        self.grants: dict[str, Grant] = {}
        self.usages: dict[str, LastUsage] = {}
        self._aliases_of: dict[str, dict[str, None]] = {}
        self._grants_of: dict[str, dict[str, None]] = {}
        self._grants_to: dict[tuple[str, str], dict[str, None]] = {}
        self.apply(Put(record) for record in records)

    def aliases_of(self, key_id: str) -> Iterator[Alias]:
        return (self.aliases[name] for name in self._aliases_of.get(key_id, ()))

    def grants_of(self, key_id: str) -> Iterator[Grant]:
        return (self.grants[grant_id] for grant_id in self._grants_of.get(key_id, ()))

    def count_grants(self, key_id: str) -> int:
        return len(self._grants_of.get(key_id, ()))

    def grants_to(self, key_id: str, grantee: str) -> Iterator[Grant]:
        """Asked at every call that no policy allows, of keys that may have 50,000 grants."""
        return (self.grants[grant_id] for grant_id in self._grants_to.get((key_id, grantee), ()))

    def materials_of(self, key: Key) -> list[Material]:
        """Oldest first, the one that waits for its rotation last."""
        named = key.material_ids + ((key.pending_material_id,) if key.pending_material_id else ())
        return [self.materials[material_id] for material_id in named]

    def apply(self, changes: Iterable[Change]) -> None:
        """After they are durable. Whoever calls this is the only one who does."""
        for change in changes:
            match change:
                case Put(record=record):
                    self._put(record)
                case Remove(kind=kind, record_id=record_id):
                    self._remove(kind, record_id)

    def _put(self, record: Record) -> None:
        _, record_id, key_id = identity_of(record)
        match record:
            case Key():
                self.keys[record_id] = record
            case Material():
                self.materials[record.material_id] = record
            case Alias():
                if (before := self.aliases.get(record_id)) is not None:
                    del self._aliases_of[before.target_key_id][record_id]
                self.aliases[record_id] = record
                self._aliases_of.setdefault(key_id, {})[record_id] = None
            case Grant():
                self.grants[record_id] = record
                self._grants_of.setdefault(key_id, {})[record_id] = None
                self._grants_to.setdefault((key_id, record.grantee), {})[record_id] = None
            case LastUsage():
                self.usages[record_id] = record

    def _remove(self, kind: Kind, record_id: str) -> None:
        match kind:
            case "key":
                del self.keys[record_id]
                self._aliases_of.pop(record_id, None)
                self._grants_of.pop(record_id, None)  # its grants are removed before it
            case "material":
                del self.materials[bytes.fromhex(record_id)]
            case "alias":
                alias = self.aliases.pop(record_id)
                self._aliases_of.get(alias.target_key_id, {}).pop(record_id, None)
            case "grant":
                grant = self.grants.pop(record_id)
                self._grants_of.get(grant.key_id, {}).pop(record_id, None)
                to = self._grants_to[grant.key_id, grant.grantee]
                del to[record_id]
                if not to:
                    del self._grants_to[grant.key_id, grant.grantee]
            case "usage":
                del self.usages[record_id]
