"""The official KMS service model, corrected where KMS itself is stricter than its model.

KMS documents limits that its model does not carry. They are rows of `CORRECTIONS`, so that every limit is checked in one
place and told in one grammar (`aws/json_reader.py`). This module knows no request and nothing of which operations
anybody implements.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from botocore.loaders import Loader

from strongroom.aws.model import Correction, Operation, corrected_operations

TARGET_PREFIX = "TrentService."  # of the X-Amz-Target header: KMS's name in the model

_API = "https://docs.aws.amazon.com/kms/latest/APIReference/API_"

CORRECTIONS: tuple[Correction, ...] = (
    Correction(
        ("shapes", "ScheduleKeyDeletionRequest", "members", "PendingWindowInDays"),
        {"shape": "WaitingPeriodInDays"},
        "the window of the request has tighter bounds than the type, which other places share",
    ),
    Correction(
        ("shapes", "WaitingPeriodInDays"),
        {"type": "integer", "min": 7, "max": 30},
        f"{_API}ScheduleKeyDeletion.html: between 7 and 30 days; the model says 1 to 365",
    ),
    *(
        Correction(
            ("shapes", f"LimitOf{most}"),
            {"type": "integer", "min": 1, "max": most},
            "the greatest page of some listings is smaller than the 1000 of LimitType",
        )
        for most in (50, 100)
    ),
    *(
        Correction(
            ("shapes", f"{operation}Request", "members", "Limit"),
            {"shape": f"LimitOf{most}"},
            f"{_API}{operation}.html: between 1 and {most}",
        )
        for operation, most in (
            ("ListAliases", 100),
            ("ListGrants", 100),
            ("ListResourceTags", 50),
            ("ListRetirableGrants", 100),
        )
    ),
    Correction(
        ("shapes", "GrantTokenType", "sensitive"),
        True,
        "a grant token gives its bearer rights: an error message, and so the audit log, does not repeat it",
    ),
    # `ValidTo` (365 days ahead) depends on the clock, GenerateRandom's `NumberOfBytes` and Decrypt's `CiphertextBlob` are
    # demanded with texts of their own: these are the operations' to check.
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JsonModel:
    """A service of the JSON protocols. `operations`: all of the official model, by name."""

    target_prefix: str
    operations: Mapping[str, Operation] = field(repr=False)


@cache
def load_kms_model() -> JsonModel:
    """The corrected model. The first call reads botocore's data files."""
    document = Loader().load_service_model("kms", "service-2")
    return JsonModel(target_prefix=TARGET_PREFIX, operations=corrected_operations(document, CORRECTIONS))
