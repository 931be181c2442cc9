"""Times as S3 writes and reads them: HTTP dates in most headers, ISO 8601 in XML and in a few headers.

Strategy: inside the program a time is an aware datetime; outside it has whole seconds, because that is all an HTTP date
can carry, and a listing must not disagree with the header of the same object.
Rules: RFC 9110 5.6.7; https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html for the form in XML.
"""

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime


def parse_timestamp(text: str) -> datetime | None:
    """Any of the forms of HTTP dates or ISO 8601, as UTC; None if it is none of them. Without a zone it is UTC."""
    text = text.strip()
    if not text.isascii():
        return None
    try:
        moment = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, IndexError, TypeError):  # email.utils lets all of them out
        return None


def http_date(moment: datetime) -> str:
    """`Fri, 02 Jan 2026 03:04:05 GMT`. Raises ValueError for a time without a zone."""
    return format_datetime(_utc(moment), usegmt=True)


def iso8601(moment: datetime) -> str:
    """`2026-01-02T03:04:05.000Z`. Raises ValueError for a time without a zone."""
    return f"{_utc(moment).replace(tzinfo=None).isoformat(timespec='seconds')}.000Z"


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is UTC:
        return moment
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC)
