"""`strongroom`, with an application that shows what the processes around it do. Started by the tests as a program."""

import asyncio
import ctypes
import os
import sys
import types
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Proof:
    object_bytes: int
    stored_bytes: int
    seconds: float


@dataclass(frozen=True)
class Paths:
    keys: Path


class StartError(Exception):
    pass


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


async def build(settings, data_dir: Path) -> Application:
    if (data_dir / "refuse-build").exists():
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
    stub = types.ModuleType("strongroom.server")
    stub.__dict__.update(
        Application=Application,
        Paths=Paths,
        Proof=Proof,
        StartError=StartError,
        build=build,
        initialise=initialise,
        prove=prove,
    )
    sys.modules["strongroom.server"] = stub
    from strongroom.cli.main import main

    main()
