"""`strongroom key` shows what others have written: whoever may describe a key must not speak to an operator's terminal."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from strongroom.cli import key
from strongroom.cli.command import CommandError
from strongroom.config import Settings
from tests.key_service import serving

KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
HOSTILE = ["\x1b]0;owned\x07\x1b[2J", "[/]", "[link=https://evil.test]click[/link]", "\x9b31m", "a\nKeyState Enabled"]


class Client:
    def __init__(self, description: str) -> None:
        self.description = description

    def get_paginator(self, name: str) -> Any:
        page = {"Aliases": []} if name == "list_aliases" else {"Keys": [{"KeyId": KEY_ID}]}

        class Pages:
            def paginate(self) -> Iterator[dict[str, Any]]:
                yield page

        return Pages()

    def describe_key(self, **_: str) -> dict[str, Any]:
        metadata = {
            "KeyId": KEY_ID,
            "KeyState": "Disabled",
            "KeySpec": "HMAC_256",
            "Origin": "AWS_KMS",
            "CreationDate": datetime(2026, 1, 2, tzinfo=UTC),
            "Description": self.description,
        }
        return {"KeyMetadata": metadata}


@pytest.mark.parametrize("description", HOSTILE)
def test_a_description_is_text(capsys: pytest.CaptureFixture[str], description: str) -> None:
    assert key.list_keys(Client(description), Settings(), as_json=False) == 0
    assert key.describe(Client(description), Settings(), key=KEY_ID, as_json=False) == 0
    told = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in told)
    assert "\nKeyState Enabled" not in told
    if description.isprintable():
        assert told.count(description) == 2


def test_a_key_whose_alias_is_taken_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(tmp_path / "data") as server:
        client = server.client()

        def create(alias: str) -> int:
            return key.create(
                client, Settings(), alias=alias, description="", spec="SYMMETRIC_DEFAULT", usage=None, as_json=False
            )

        assert create("payroll") == 0
        arn = capsys.readouterr().out.strip()
        with pytest.raises(CommandError, match=r"alias/payroll stands for .* already: no key was made"):
            create("alias/payroll")
        assert [each["KeyArn"] for each in client.list_keys()["Keys"]] == [arn]
