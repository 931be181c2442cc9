"""What one worker serves: S3 over the open store, put together for the edge."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from strongroom.aws.model import load_s3_model
from strongroom.config import Settings
from strongroom.database.database import Unavailable
from strongroom.edge.asgi import application
from strongroom.edge.rest_flow import Edge
from strongroom.edge.service import FindIdentity, Service
from strongroom.identity.root import load_root
from strongroom.s3 import cleanup
from strongroom.s3.members import check_members
from strongroom.s3.service import check_target, handlers, rules
from strongroom.server.identities import open_identities
from strongroom.server.store import OpenStore, open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What one worker serves. `maintain` never returns; one worker runs it."""

    asgi: Callable[..., Awaitable[None]]
    maintain: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]


async def build(settings: Settings, data_dir: Path) -> Application:
    """What one worker serves. Raises StartError."""
    root = load_root(data_dir, os.environ, settings.account_id)
    identities, identity_database = await open_identities(data_dir, root)
    try:
        store = await open_store(data_dir, settings, people=identities)
    except BaseException:
        await identity_database.close()
        raise

    async def close() -> None:
        await store.close()
        await identity_database.close()

    return Application(
        asgi=application(edge(settings, store, identities.find)),
        maintain=partial(cleanup.maintain, store.storage, store.blobs.remove_abandoned),
        close=close,
    )


def edge(settings: Settings, store: OpenStore, find_identity: FindIdentity) -> Edge:
    service = Service(
        name="s3",
        model=load_s3_model(),
        handlers=handlers(store.storage),
        check_members=check_members,
        rules=rules(store.storage),
        check_target=partial(check_target, store.storage),
        domains=settings.domain,
        region=settings.region,
    )
    return Edge(
        service=service,
        find_identity=find_identity,
        account_id=settings.account_id,
        stall_timeout=settings.stall_timeout,
        trusted_proxies=settings.trusted_proxies,
        ready=partial(_ready, store),
        now=lambda: datetime.now(UTC),
    )


async def _ready(store: OpenStore) -> bool:
    """Whether the index answers."""
    try:
        return bool(await store.database.read("SELECT 1 FROM store LIMIT 1"))
    except Unavailable:
        return False
