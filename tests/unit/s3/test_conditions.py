from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from strongroom.aws.errors import S3Error
from strongroom.s3.conditions import (
    Preconditions,
    check_copy_source,
    check_delete,
    check_read,
    check_write,
)

ETAG = '"8d777f385d3dfec8815d20f7496026dc"'
OTHER = '"d41d8cd98f00b204e9800998ecf8427e"'
MODIFIED = datetime(2026, 2, 23, 11, 37, 2, 750_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SHOWN = MODIFIED.replace(microsecond=0)  # what Last-Modified says
NOW = MODIFIED + timedelta(hours=1)


def read(preconditions):
    """The outcome: None, or (status, Condition)."""
    try:
        check_read(preconditions, etag=ETAG, last_modified=MODIFIED, now=NOW)
    except S3Error as error:
        return error.status, error.detail.get("Condition")
    return None


def copy(preconditions):
    try:
        check_copy_source(preconditions, etag=ETAG, last_modified=MODIFIED, now=NOW)
    except S3Error as error:
        return error.status, error.detail.get("Condition")
    return None


def write(**given):
    try:
        check_write(key="k", **({"if_match": None, "if_none_match": None, "current_etag": None} | given))
    except S3Error as error:
        return error
    return None


@pytest.mark.parametrize(
    ("field", "strong", "weak"),
    [
        (ETAG, True, True),
        (ETAG.strip('"'), True, True),
        ("*", True, True),
        (" * ", True, True),
        (f"W/{ETAG}", False, True),
        (f"{OTHER}, {ETAG}", True, True),
        (f"{OTHER},W/{ETAG}", False, True),
        (f"{OTHER} ,\t{ETAG} ", True, True),
        (OTHER, False, False),
        ("etag123", False, False),
        ("", False, False),
        ('"', False, False),
        (",", False, False),
        ('"*"', False, False),
        (ETAG.upper(), False, False),
        (f"{ETAG}x", False, False),
        (f"w/{ETAG}", False, False),
    ],
)
def test_entity_tags_of_if_match_compare_strongly_and_of_if_none_match_weakly(field, strong, weak):
    assert read(Preconditions(if_match=field)) == (None if strong else (412, "If-Match"))
    assert read(Preconditions(if_none_match=field)) == ((304, None) if weak else None)


@pytest.mark.parametrize(
    ("since", "if_modified", "if_unmodified"),
    [
        (SHOWN - SECOND, None, (412, "If-Unmodified-Since")),
        (SHOWN, (304, None), None),
        (SHOWN + SECOND, (304, None), None),
        (NOW, (304, None), None),
        (NOW + SECOND, None, None),  # S3 ignores an If-Modified-Since in the future
    ],
)
def test_dates_compare_in_whole_seconds(since, if_modified, if_unmodified):
    assert read(Preconditions(if_modified_since=since)) == if_modified
    assert read(Preconditions(if_unmodified_since=since)) == if_unmodified


NAMES = ("if_match", "if_none_match", "if_modified_since", "if_unmodified_since")
TRUE: dict[str, Any] = {
    "if_match": ETAG,
    "if_none_match": OTHER,
    "if_modified_since": SHOWN - SECOND,
    "if_unmodified_since": SHOWN,
}
FALSE: dict[str, Any] = {
    "if_match": OTHER,
    "if_none_match": ETAG,
    "if_modified_since": SHOWN,
    "if_unmodified_since": SHOWN - SECOND,
}


def first_failure(holds):
    """RFC 9110 13.2.2, steps 1 to 4, as a table of what holds (True, False, or None for absent)."""
    if holds["if_match"] is False:
        return "If-Match"
    if holds["if_match"] is None and holds["if_unmodified_since"] is False:
        return "If-Unmodified-Since"
    if holds["if_none_match"] is False:
        return "If-None-Match"
    if holds["if_none_match"] is None and holds["if_modified_since"] is False:
        return "If-Modified-Since"
    return None


@pytest.mark.parametrize("outcomes", list(product([None, True, False], repeat=4)))
def test_every_combination_is_judged_in_the_order_of_rfc_9110(outcomes):
    holds = dict(zip(NAMES, outcomes, strict=True))
    given = Preconditions(**{name: (TRUE if held else FALSE)[name] for name, held in holds.items() if held is not None})
    condition = first_failure(holds)
    match condition:
        case None:
            assert read(given) is None
            assert copy(given) is None
        case "If-None-Match" | "If-Modified-Since":
            assert read(given) == (304, None)
            assert copy(given) == (412, f"x-amz-copy-source-{condition}")
        case _:
            assert read(given) == (412, condition)
            assert copy(given) == (412, f"x-amz-copy-source-{condition}")


def test_aws_true_if_match_silences_false_if_unmodified_since():
    assert read(Preconditions(if_match=ETAG, if_unmodified_since=SHOWN - SECOND)) is None


def test_aws_false_if_none_match_beats_true_if_modified_since():
    assert read(Preconditions(if_none_match=ETAG, if_modified_since=SHOWN - SECOND)) == (304, None)


def test_failed_read_condition_has_the_message_of_aws():
    with pytest.raises(S3Error) as caught:
        check_read(Preconditions(if_match=OTHER), etag=ETAG, last_modified=MODIFIED, now=NOW)
    assert caught.value.code == "PreconditionFailed"
    assert caught.value.message == "At least one of the pre-conditions you specified did not hold"


@pytest.mark.parametrize(
    ("given", "status", "detail"),
    [
        ({}, None, None),
        ({"current_etag": ETAG}, None, None),
        ({"if_none_match": "*"}, None, None),
        ({"if_none_match": " * "}, None, None),
        ({"if_none_match": "*", "current_etag": ETAG}, 412, {"Condition": "If-None-Match"}),
        ({"if_match": ETAG, "current_etag": ETAG}, None, None),
        ({"if_match": ETAG.strip('"'), "current_etag": ETAG}, None, None),
        ({"if_match": OTHER, "current_etag": ETAG}, 412, {"Condition": "If-Match"}),
        ({"if_match": "bad-char_/", "current_etag": ETAG}, 412, {"Condition": "If-Match"}),
        ({"if_match": f"W/{ETAG}", "current_etag": ETAG}, 412, {"Condition": "If-Match"}),
        ({"if_match": ETAG}, 404, {"Key": "k"}),
        (
            {"if_match": "*", "current_etag": ETAG},
            501,
            {
                "Header": "If-Match",
                "additionalMessage": "We don't accept the provided value of If-Match header for this API",
            },
        ),
        (
            {"if_none_match": ETAG, "current_etag": ETAG},
            501,
            {
                "Header": "If-None-Match",
                "additionalMessage": "We don't accept the provided value of If-None-Match header for this API",
            },
        ),
        (
            {"if_match": "abcdef", "if_none_match": "*"},
            501,
            {
                "Header": "If-Match,If-None-Match",
                "additionalMessage": "Multiple conditional request headers present in the request",
            },
        ),
    ],
)
def test_conditional_write(given, status, detail):
    error = write(**given)
    assert (error and error.status) == status
    assert (error and error.detail) == detail


def test_conditional_write_of_what_cannot_be_asked_is_not_implemented_in_the_words_of_aws():
    with pytest.raises(S3Error) as caught:
        check_write(if_match=" * ", if_none_match=None, key="k", current_etag=ETAG)
    assert caught.value.code == "NotImplemented"
    assert caught.value.message == "A header you provided implies functionality that is not implemented"


@pytest.mark.parametrize(
    ("if_match", "current_etag", "refused"),
    [
        (None, ETAG, False),
        ("*", ETAG, False),
        (ETAG, ETAG, False),
        (ETAG.strip('"'), ETAG, False),
        (OTHER, ETAG, True),
        ("badetag", ETAG, True),
        ("*", None, False),
        ("badetag", None, False),
    ],
)
def test_conditional_delete(if_match, current_etag, refused):
    if not refused:
        check_delete(if_match=if_match, current_etag=current_etag)
        return
    with pytest.raises(S3Error) as caught:
        check_delete(if_match=if_match, current_etag=current_etag)
    assert (caught.value.status, caught.value.detail) == (412, {"Condition": "If-Match"})


def test_a_long_field_is_judged_in_linear_time():
    assert read(Preconditions(if_none_match=" " * 16_000 + "a" * 16_000 + '"')) is None
