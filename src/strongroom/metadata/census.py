"""The key census: how many objects, and how many bytes, hang on each material of each KMS key.

An object names a key and its material, or a bucket key whose row names them; so the census is a count of the one and a
join of the other, over indexes alone and as of one moment. Uploads that are not complete are counted apart: what they
hang on is still in use, though nobody can read it yet. Nothing is opened and nothing is changed: these are the clear
columns, which the rows bind.
"""

from collections import Counter
from dataclasses import dataclass
from typing import cast

from strongroom.database.database import Database

_NAMED = "SELECT ?, key_arn, material_id, count(*), sum({size}) FROM {table} WHERE key_arn IS NOT NULL{open} GROUP BY key_arn, material_id"
_BY_BUCKET_KEY = (
    "SELECT ?, k.key_arn, k.material_id, sum(r.number), sum(r.size) FROM (SELECT bucket_key_id, count(*) AS number,"
    " sum({size}) AS size FROM {table} WHERE bucket_key_id IS NOT NULL{open} GROUP BY bucket_key_id) r"
    " JOIN bucket_keys k ON k.bucket_key_id = r.bucket_key_id GROUP BY k.key_arn, k.material_id"
)
_OBJECTS = {"table": "object_versions", "size": "size", "open": ""}
_UPLOADS = {"table": "uploads", "size": "0", "open": " AND state = 0"}
_CENSUS = " UNION ALL ".join(form.format(**rows) for rows in (_OBJECTS, _UPLOADS) for form in (_NAMED, _BY_BUCKET_KEY))

_Named = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUsage:
    """What hangs on one material of one key. `material_id`: None where the key service did not tell, or where the row
    of a bucket key is missing. `size`: plaintext bytes. `by_bucket_key`: how many of `objects` use a bucket key.
    """

    key_arn: str
    material_id: bytes | None
    objects: int
    size: int
    by_bucket_key: int
    uploads: int


async def census(database: Database, *, key_arn: str | None = None) -> list[KeyUsage]:
    """By key and material, the unknown material first; of `key_arn` alone if it is given. Raises Unavailable."""
    rows = await database.read(_CENSUS, tuple(range(4)))
    objects, sizes, uploads = Counter[_Named](), Counter[_Named](), Counter[_Named]()
    through = Counter[_Named]()
    for source, arn, material, number, size in cast("list[tuple[int, str, bytes | None, int, int]]", rows):
        named = (arn, material)
        match source:
            case 0:
                objects[named] += number
                sizes[named] += size
            case 1:  # counted above too, by a key and no material
                objects[named] += number
                sizes[named] += size
                through[named] += number
                objects[arn, None] -= number
                sizes[arn, None] -= size
            case 2:
                uploads[named] += number
            case _:
                uploads[named] += number
                uploads[arn, None] -= number
    return [
        KeyUsage(
            key_arn=named[0],
            material_id=named[1],
            objects=objects[named],
            size=sizes[named],
            by_bucket_key=through[named],
            uploads=uploads[named],
        )
        for named in sorted(objects.keys() | uploads.keys(), key=lambda named: (named[0], named[1] or b""))
        if (objects[named] or uploads[named]) and key_arn in (None, named[0])
    ]
