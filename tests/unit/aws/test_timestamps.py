"""The forms of a time on the wire."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.timestamps import http_date, iso8601, parse_timestamp

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "Fri, 02 Jan 2026 03:04:05 GMT",
        "Friday, 02-Jan-26 03:04:05 GMT",
        "Fri Jan  2 03:04:05 2026",
        "Fri, 02 Jan 2026 05:04:05 +0200",
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.000Z",
        "2026-01-02T05:04:05+02:00",
        "20260102T030405Z",
        " 2026-01-02T03:04:05 ",
    ],
)
def test_parse_timestamp__every_form_is_the_same_time(text):
    assert parse_timestamp(text) == MOMENT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026",
        "2026-13-01T00:00:00Z",
        "\uff12026-01-02T03:04:05Z",
        "Fri, 32 Jan 2026 03:04:05 GMT",
        "Fri, 02 Jan 99999999999 03:04:05 GMT",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "\x00",
        ",",
    ],
)
def test_parse_timestamp__anything_else_is_none(text):
    assert parse_timestamp(text) is None


@pytest.mark.parametrize("moment", [MOMENT, MOMENT.astimezone(timezone(timedelta(hours=5)))])
def test_formats__are_utc_in_whole_seconds(moment):
    assert http_date(moment) == "Fri, 02 Jan 2026 03:04:05 GMT"
    assert iso8601(moment.replace(microsecond=999_999)) == "2026-01-02T03:04:05.000Z"


@pytest.mark.parametrize("format_time", [http_date, iso8601])
def test_formats__a_time_without_a_zone_is_refused(format_time):
    with pytest.raises(ValueError, match="zone"):
        format_time(datetime(2026, 1, 2))  # noqa: DTZ001


@given(st.text() | st.text("0123456789-:TZ+., GMTFriJan"))
def test_parse_timestamp__any_text_is_a_time_in_utc_or_none(text):
    moment = parse_timestamp(text)
    assert moment is None or moment.utcoffset() == timedelta(0)


@given(st.datetimes(timezones=st.just(UTC)))
def test_formats__are_read_back(moment):
    moment = moment.replace(microsecond=0)
    assert parse_timestamp(iso8601(moment)) == moment
    if moment.year >= 1000:  # email.utils reads a year of less than four digits as an abbreviation
        assert parse_timestamp(http_date(moment)) == moment
