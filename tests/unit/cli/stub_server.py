"""`strongroom`, with applications that show what the processes around them do. Started by the tests as a program."""

import asyncio
import contextlib
import ctypes
import os
import socket
import sys
import types
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from strongroom.server.paths import StartError


@dataclass(frozen=True)
class Proof:
    object_bytes: int
    stored_bytes: int
    seconds: float


class Application:
    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    async def asgi(self, scope, receive, send) -> None:
        del receive
        path = scope["raw_path"]
        if path == b"/exit":
            os._exit(7)
        if path == b"/slow":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
            await send({"type": "http.response.body", "body": b"sl", "more_body": True})
            await asyncio.sleep(float(scope["query_string"]))
            await send({"type": "http.response.body", "body": b"ow"})
            return
        if path == b"/ask-kms":  # in a while: is the key service still there?
            await asyncio.sleep(float(scope["query_string"]))
            body = await ask_kms(self._data_dir)
            await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
            await send({"type": "http.response.body", "body": body})
            return
        if path == b"/listens":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
            await send({"type": "http.response.body", "body": repr(sorted(listeners())).encode()})
            return
        body = str(os.getpid() if path != b"/dumpable" else ctypes.CDLL(None).prctl(3)).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def maintain(self) -> None:
        with (self._data_dir / "maintained").open("a") as file:
            file.write(f"{os.getpid()}\n")
        await asyncio.Event().wait()

    async def close(self) -> None:
        (self._data_dir / f"closed.{os.getpid()}").touch()


def listeners() -> set[Any]:
    """The ports and paths on which this process could accept connections."""
    found = set()
    for descriptor in range(3, 256):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as opened:
            if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                name = opened.getsockname()
                found.add(str(name[1] if isinstance(name, tuple) else name))
    return found


async def ask_kms(data_dir: Path) -> bytes:
    directory = os.open(data_dir / "run", os.O_PATH)
    try:
        reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{directory}/kms.sock")
        writer.write(b"GET /-/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
    except OSError as error:
        return repr(error).encode()
    finally:
        os.close(directory)
    return answer.rpartition(b"\r\n")[2] or answer


@dataclass(frozen=True)
class KmsApplication:
    asgi: Any
    internal_asgi: Any
    admin_asgi: Any
    maintain: Any
    close: Any


async def build_kms(settings, data_dir: Path, *, ask_passphrase) -> KmsApplication:
    """A key service that knows GenerateRandom. It waits for the file `kms-go` where there is `kms-wait`."""
    del ask_passphrase
    from strongroom.aws.kms_errors import KmsError
    from strongroom.aws.kms_model import load_kms_model
    from strongroom.edge.asgi import application
    from strongroom.edge.json_flow import JsonService
    from strongroom.identity.root import load_root
    from strongroom.identity.store import Identity

    if (data_dir / "refuse-kms").exists():
        raise StartError("the root key is another one")
    while (data_dir / "kms-wait").exists() and not (data_dir / "kms-go").exists():  # noqa: ASYNC110 - files tell nobody
        await asyncio.sleep(0.01)
    root = load_root(data_dir, os.environ, settings.account_id)
    identity = Identity(credentials=root.credentials, principal=root.principal, user_id="root", is_root=True)

    async def answer(operation, given, caller):
        if operation != "GenerateRandom":
            raise KmsError("UnsupportedOperationException")
        return {"Plaintext": os.urandom(given["NumberOfBytes"])}

    async def nothing(*_arguments):
        return True

    async def close():
        (data_dir / "kms-closed").touch()

    def service(*, internal: bool) -> Any:
        return application(
            JsonService(
                name="kms",
                model=load_kms_model(),
                answer=answer,
                refused=nothing,
                find_identity={root.credentials.access_key_id: identity}.get,
                region=settings.region,
                internal=internal,
                service_access_key_id="strongroom-s3",
                stall_timeout=settings.stall_timeout,
                ready=nothing,
                now=lambda: datetime.now(UTC),
            )
        )

    return KmsApplication(
        asgi=service(internal=False),
        internal_asgi=service(internal=True),
        admin_asgi=service(internal=True),
        maintain=asyncio.Event().wait,
        close=close,
    )


async def build(settings, data_dir: Path) -> Application:
    if (data_dir / "refuse-build").exists():
        (data_dir / f"refused.{os.getpid()}").touch()
        raise StartError("the store is not as it was")
    return Application(data_dir)


def initialise(data_dir: Path, settings) -> None:
    if (data_dir / "refuse").exists():
        raise StartError("the store key is another one")
    if (data_dir / "refuse-by-the-system").exists():
        raise PermissionError(13, "Permission denied", "index.db.lock")


def prove(settings, data_dir: Path) -> Proof:
    return Proof(object_bytes=1000, stored_bytes=1072, seconds=0.004)


if __name__ == "__main__":
    stubs: dict[str, dict[str, Any]] = {
        "kms": {"build_kms": build_kms},
        "proof": {"Proof": Proof, "prove": prove},
        "s3": {"build": build},
        "store": {"initialise": initialise},
    }
    for name, content in stubs.items():
        module = types.ModuleType(f"strongroom.server.{name}")
        module.__dict__.update(content)
        sys.modules[module.__name__] = module
    from strongroom.cli.main import main

    main()
