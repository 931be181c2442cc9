"""An object's bytes as ciphertext: which writer makes it, how long it is, and which reader opens which bytes of it.

One layer or two (DSSE), which nobody else has to know. No input or output happens here.
"""

from dataclasses import dataclass

from strongroom.crypto.layers import LayeredReader, LayeredWriter, layered_size, layered_span, split_header
from strongroom.crypto.sealing import body_context
from strongroom.crypto.segments import SegmentReader, SegmentWriter, Span, ciphertext_size, span, whole
from strongroom.metadata.records import Dsse, Encryption, Part
from strongroom.s3.object_keys import ObjectKey

_INNER, _OUTER = 0, 1

Writer = SegmentWriter | LayeredWriter
Reader = SegmentReader | LayeredReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A reader and what it is to be fed: the bytes `start`..`stop` (half open) of a blob of `size` bytes."""

    reader: Reader
    start: int
    stop: int
    size: int


def stored_size(encryption: Encryption, size: int) -> int:
    """Bytes of the blob that holds `size` plaintext bytes."""
    return layered_size(size) if isinstance(encryption, Dsse) else ciphertext_size(size)


def writer_for(key: ObjectKey, part_number: int) -> Writer:
    """For one new message. `part_number`: 0 for a single PUT."""
    inner = SegmentWriter(key.material, body_context(key.object_id, part_number, _INNER))
    if key.outer is None:
        return inner
    return LayeredWriter(inner, SegmentWriter(key.outer, body_context(key.object_id, part_number, _OUTER)))


def reading(key: ObjectKey, part: Part, first: int, last: int) -> Reading:
    """For the plaintext offsets `first`..`last` (inclusive) of a part; `last` < `first` where it is empty. Raises
    KeyMismatch, IntegrityError.
    """
    wanted = span(part.size, first, last) if first <= last else whole(part.size)
    inner_context = body_context(key.object_id, part.part_number, _INNER)
    if key.outer is None:
        reader = SegmentReader(key.material, inner_context, part.header, part.size, wanted)
        return Reading(reader=reader, start=wanted.start, stop=wanted.stop, size=ciphertext_size(part.size))
    outer_header, inner_header = split_header(part.header)
    around = layered_span(part.size, wanted)
    inner = SegmentReader(key.material, inner_context, inner_header, part.size, wanted)
    outer = _outer_reader(key.outer, key.object_id, part, outer_header, around)
    size = layered_size(part.size)
    return Reading(reader=LayeredReader(inner, outer), start=around.start, stop=around.stop, size=size)


def outer_reading(outer: bytes, object_id: bytes, part: Part) -> Reading:
    """For the whole of the outer message alone; what it yields is the inner one, unopened. Raises as `reading`."""
    outer_header, _ = split_header(part.header)
    around = whole(ciphertext_size(part.size))
    reader = _outer_reader(outer, object_id, part, outer_header, around)
    return Reading(reader=reader, start=around.start, stop=around.stop, size=layered_size(part.size))


def _outer_reader(outer: bytes, object_id: bytes, part: Part, header: bytes, around: Span) -> SegmentReader:
    context = body_context(object_id, part.part_number, _OUTER)
    return SegmentReader(outer, context, header, ciphertext_size(part.size), around)
