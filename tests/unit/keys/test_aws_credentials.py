import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError
from botocore.session import Session

from strongroom.keys import aws_credentials
from strongroom.keys.aws_credentials import BotocoreCredentials
from strongroom.keys.kms_endpoint import ServiceCredentials
from strongroom.keys.provider import KeyServiceUnavailable


@pytest.fixture
def nowhere(monkeypatch, tmp_path) -> None:
    """A machine without AWS credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def with_credentials(credentials: object) -> Any:
    session: Any = Session()
    session._credentials = credentials
    return session


def test_they_come_from_where_the_aws_tools_have_theirs(nowhere, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TOKEN")
    expected = ServiceCredentials(access_key_id="AKID", secret_access_key="SECRET", session_token="TOKEN")
    assert BotocoreCredentials().load() == expected
    assert asyncio.run(BotocoreCredentials().current()) == expected
    assert "SECRET" not in repr(expected)
    assert "TOKEN" not in repr(expected)


def test_none_is_not_now(nowhere) -> None:
    with pytest.raises(KeyServiceUnavailable, match="no AWS credentials were found"):
        BotocoreCredentials().load()
    with pytest.raises(KeyServiceUnavailable, match="no AWS credentials were found"):
        asyncio.run(BotocoreCredentials().current())


def test_they_are_asked_for_once_in_a_minute_and_off_the_loop(monkeypatch) -> None:
    threads: list[threading.Thread] = []

    def refresh() -> dict[str, str]:
        threads.append(threading.current_thread())
        expiry = datetime.now(UTC) + timedelta(minutes=1)  # so soon that botocore refreshes whenever it is asked
        return {
            "access_key": f"AKID{len(threads)}",
            "secret_key": "SECRET",
            "token": "TOKEN",
            "expiry_time": expiry.isoformat(),
        }

    credentials = RefreshableCredentials.create_from_metadata(refresh(), refresh, "test")
    source = BotocoreCredentials(with_credentials(credentials))

    async def work() -> None:
        found = await asyncio.gather(*(source.current() for _ in range(20)))
        found.append(await source.current())
        assert {each.access_key_id for each in found} == {"AKID2"}
        monkeypatch.setattr(aws_credentials, "_ASK_EVERY", 0.0)
        assert (await source.current()).access_key_id == "AKID3"

    asyncio.run(work())
    assert threading.main_thread() not in threads[1:]


def test_what_cannot_be_refreshed_is_not_now() -> None:
    class Failing:
        def get_frozen_credentials(self) -> None:
            raise CredentialRetrievalError(provider="test", error_msg="SECRET")

    with pytest.raises(KeyServiceUnavailable) as failed:
        BotocoreCredentials(with_credentials(Failing())).load()
    assert "SECRET" not in str(failed.value)
