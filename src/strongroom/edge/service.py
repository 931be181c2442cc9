"""What the edge knows of a service: values and functions, no S3 and no storage."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from strongroom.aws.model import Model
from strongroom.identity.call import AuthorizedCall, Handler, Rules
from strongroom.identity.store import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """`handlers`: by operation; an operation of the model that has none is 501. `check_members`: refuses input that is
    not honoured yet. `rules`: what each operation has to be allowed. `check_target`: whether what an XML body is about
    exists, before the body is read. `domains`: bases of virtual-host names. `region`, `name`: what a credential scope
    must say.
    """

    name: str
    model: Model
    handlers: Mapping[str, Handler]
    check_members: Callable[[Mapping[str, Any]], None]
    rules: Rules
    check_target: Callable[[AuthorizedCall], Awaitable[None]]
    domains: tuple[str, ...]
    region: str


FindIdentity = Callable[[str], Identity | None]
"""The identity of an access key id, or None."""
