"""strongroom.crypto.context: the encoding of what a ciphertext is bound to."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.crypto.context import ctx, text, u8, u32, u64


def test_ctx__is_label_count_and_length_prefixed_fields() -> None:
    name = b"strongroom/1/body"
    assert ctx("body", b"\xaa\xbb", b"") == b"\x11" + name + b"\x02" + b"\0\0\0\x02\xaa\xbb" + b"\0\0\0\0"
    assert ctx("body") == b"\x11" + name + b"\x00"


@settings(deadline=None)
@given(st.lists(st.tuples(st.text("ab/", max_size=3), st.lists(st.binary(max_size=3), max_size=3)), min_size=2))
def test_ctx__is_injective(inputs: list[tuple[str, list[bytes]]]) -> None:
    for (label, fields), (other_label, other_fields) in pairwise(inputs):
        same = (label, fields) == (other_label, other_fields)
        assert (ctx(label, *fields) == ctx(other_label, *other_fields)) is same


def test_ctx__tells_apart_what_concatenation_would_not() -> None:
    variants = [
        ctx("a", b"bc", b"d"),
        ctx("a", b"b", b"cd"),
        ctx("a", b"bcd"),
        ctx("a", b"bc", b"d", b""),
        ctx("ab", b"c", b"d"),
    ]
    assert len(set(variants)) == len(variants)


def test_ctx__refuses_what_its_lengths_cannot_say() -> None:
    ctx("x" * 242, *[b""] * 255)
    with pytest.raises(OverflowError):
        ctx("x" * 243)
    with pytest.raises(OverflowError):
        ctx("x", *[b""] * 256)
    with pytest.raises(UnicodeEncodeError):
        ctx("ä")


@pytest.mark.parametrize(("encode", "size"), [(u8, 1), (u32, 4), (u64, 8)])
def test_integers__are_big_endian_of_fixed_width_and_in_range(encode: Callable[[int], bytes], size: int) -> None:
    assert encode(1) == b"\0" * (size - 1) + b"\1"
    assert encode(256**size - 1) == b"\xff" * size
    for outside in (-1, 256**size):
        with pytest.raises(OverflowError):
            encode(outside)


def test_text__is_exact_utf8_and_null_is_the_empty_field() -> None:
    assert text(None) == b""
    assert text("a/../ä") == b"a/../\xc3\xa4"
    assert text("A\u030a") != text("\u00c5")  # no normalisation
    with pytest.raises(UnicodeEncodeError):
        text("\ud800")
