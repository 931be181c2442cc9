"""Encryption contexts and ciphertexts of the key service, for any context and any plaintext."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.kms_sealing import BlobPlace, canonical_context, open_blob, parse_blob, seal_blob

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
CONTEXTS = st.dictionaries(WORDS, WORDS, max_size=4)
MATERIAL = bytes(range(32))


def place(context: dict[str, str]) -> BlobPlace:
    return BlobPlace(
        account="0" * 12,
        region="us-east-1",
        key_id=b"k" * 16,
        material_id=b"m" * 32,
        context=canonical_context(context),
    )


@given(CONTEXTS, CONTEXTS)
def test_canonical_context__is_injective_and_knows_no_order(one: dict[str, str], other: dict[str, str]) -> None:
    assert (canonical_context(one) == canonical_context(other)) == (one == other)
    assert canonical_context(dict(reversed(one.items()))) == canonical_context(one)


@given(st.binary(max_size=4096), CONTEXTS, CONTEXTS)
def test_blob__opens_with_its_context_and_no_other(
    plaintext: bytes, context: dict[str, str], other: dict[str, str]
) -> None:
    blob = parse_blob(seal_blob(MATERIAL, plaintext, place(context)))
    assert open_blob(MATERIAL, blob, place(context)) == plaintext
    if other != context:
        with pytest.raises(IntegrityError):
            open_blob(MATERIAL, blob, place(other))


@given(st.binary(max_size=400))
def test_blob__garbage_is_an_integrity_error_and_nothing_else(garbage: bytes) -> None:
    for blob in (garbage, b"\1" + b"k" * 16 + b"m" * 32 + garbage):
        with pytest.raises(IntegrityError):
            open_blob(MATERIAL, parse_blob(blob), place({}))
