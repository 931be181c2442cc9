"""Credentials from where the AWS tools have theirs: environment, profiles, SSO, container and instance roles.

botocore knows all of these; finding and refreshing them may read files and ask the network, so it happens in a thread,
at most once at a time, and what was found is asked for anew every minute: botocore then refreshes what expires within
a quarter of an hour.
"""

import asyncio
import time
from typing import TYPE_CHECKING

import botocore.session
from botocore.exceptions import BotoCoreError

from strongroom.keys.kms_endpoint import ServiceCredentials
from strongroom.keys.provider import KeyServiceUnavailable
from strongroom.keys.single_flight import SingleFlight

if TYPE_CHECKING:
    from strongroom.keys.kms_endpoint import CredentialSource

_ASK_EVERY = 60.0  # seconds


class BotocoreCredentials:
    def __init__(self, session: botocore.session.Session | None = None) -> None:
        """`session`: one of botocore's, with a profile for instance; None: the default one."""
        self._session = session or botocore.session.Session()
        self._found: tuple[float, ServiceCredentials] | None = None
        self._asking = SingleFlight[ServiceCredentials]()

    async def current(self) -> ServiceCredentials:
        found = self._found
        if found and time.monotonic() - found[0] < _ASK_EVERY:
            return found[1]
        return await self._asking.do((), lambda: asyncio.to_thread(self.load))

    def load(self) -> ServiceCredentials:
        asked = time.monotonic()
        try:
            credentials = self._session.get_credentials()
            frozen = credentials and credentials.get_frozen_credentials()
        except (BotoCoreError, OSError) as error:
            raise KeyServiceUnavailable(f"the AWS credentials could not be had: {type(error).__name__}") from error
        if not frozen or not frozen.access_key or not frozen.secret_key:
            raise KeyServiceUnavailable("no AWS credentials were found")
        current = ServiceCredentials(
            access_key_id=frozen.access_key, secret_access_key=frozen.secret_key, session_token=frozen.token
        )
        self._found = asked, current
        return current


if TYPE_CHECKING:

    def _is_source(source: BotocoreCredentials) -> CredentialSource:
        return source
