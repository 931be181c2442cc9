"""strongroom.crypto.secret_key: one copy, shown nowhere, wiped after use."""

import copy
import pickle
from collections.abc import Callable

import pytest

from strongroom.crypto.secret_key import SecretKey

MATERIAL = bytes(range(100, 132))


def test_material__is_wiped_in_place_on_leaving_the_context() -> None:
    with SecretKey(MATERIAL) as key:
        material = key.material
        assert material == MATERIAL
    assert material == bytes(32)


def test_material__is_wiped_when_the_body_of_the_context_fails() -> None:
    key = SecretKey(MATERIAL)
    material = key.material
    with pytest.raises(ZeroDivisionError), key:
        raise ZeroDivisionError
    assert material == bytes(32)


def test_material__is_refused_once_wiped_so_that_nothing_is_sealed_under_a_zero_key() -> None:
    key = SecretKey(MATERIAL)
    key.zero()
    key.zero()
    with pytest.raises(ValueError, match="wiped"):
        _ = key.material
    with pytest.raises(ValueError, match="wiped"):
        key.same_as(SecretKey(MATERIAL))


def test_constructor__takes_a_bytearray_over_so_that_the_only_copy_is_wiped() -> None:
    material = bytearray(MATERIAL)
    SecretKey(material).zero()
    assert material == bytes(32)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_constructor__refuses_another_length(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SecretKey(bytes(size))


def test_same_as__compares_material_and_equality_is_not_offered() -> None:
    assert SecretKey(MATERIAL).same_as(SecretKey(MATERIAL))
    assert not SecretKey(MATERIAL).same_as(SecretKey(bytes(32)))
    assert SecretKey(MATERIAL) != SecretKey(MATERIAL)


def test_text_forms__show_nothing_of_the_key() -> None:
    key = SecretKey(b"canary-canary-canary-canary-cana")
    for shown in (repr(key), str(key), f"{key}", f"{[key]}"):
        assert "canary" not in shown
        assert b"canary".hex() not in shown


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_copies__are_refused(duplicate: Callable[[object], object]) -> None:
    with pytest.raises(TypeError):
        duplicate(SecretKey(MATERIAL))


def test_a_key_that_nobody_uses_is_wiped_when_it_goes():
    material = bytearray(b"k" * 32)
    key = SecretKey(material)
    del key
    assert material == bytes(32)
    with pytest.raises(ValueError):
        SecretKey(bytearray(31))  # and one that never was has nothing to wipe
