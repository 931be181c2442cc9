"""A small store with something of every kind in it, for tests that damage, copy or rotate what is on the disk."""

import asyncio
import hashlib
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from strongroom import config
from strongroom.server.store import OpenStore, open_store
from tests.harness import customer_key, running

T = TypeVar("T")

CUSTOMER_KEY = bytes(range(32))
PLAIN, VERSIONED = "plain", "versioned"
MIB = 1 << 20


def content(name: str, size: int) -> bytes:
    """Bytes that only this name has."""
    block = hashlib.sha256(name.encode()).digest()
    return (block * (size // len(block) + 1))[:size]


def make_store(directory: Path, *, first_part: int = 5 * MIB) -> Path:
    """The data directory, its server stopped. `first_part`: bytes; 0 for none, which makes a small store.

    `plain`: one, two (of one size), empty; ssec, ssec-two (SSE-C, of one size); parts (multipart, with a large part
    and a small one); two open uploads of `pending`, SSE-S3 and SSE-C, each with parts 2 and 9. `versioned`: two versions
    of `key` and a delete marker on top.
    """
    with running(directory) as server:
        s3, tls = server.s3(), server.s3(tls=True)
        for name in (PLAIN, VERSIONED):
            s3.create_bucket(Bucket=name)
        for key, size in (("one", 50_000), ("two", 50_000), ("empty", 0)):
            s3.put_object(Bucket=PLAIN, Key=key, Body=content(key, size))
        for key in ("ssec", "ssec-two"):
            tls.put_object(Bucket=PLAIN, Key=key, Body=content(key, 40_000), **customer_key(CUSTOMER_KEY))
        _upload(s3, "parts", {1: first_part, 3: 20_000} if first_part else {3: 20_000}, complete=True)
        _upload(s3, "pending", {2: 30_000, 9: 30_000}, complete=False)
        _upload(tls, "pending", {2: 30_000, 9: 30_000}, complete=False, encryption=customer_key(CUSTOMER_KEY))
        s3.put_bucket_versioning(Bucket=VERSIONED, VersioningConfiguration={"Status": "Enabled"})
        for number in (1, 2):
            s3.put_object(Bucket=VERSIONED, Key="key", Body=content(f"key{number}", 1000))
        s3.delete_object(Bucket=VERSIONED, Key="key")
        assert server.stop() == 0
    return server.data_dir


def _upload(
    s3: Any, key: str, sizes: dict[int, int], *, complete: bool, encryption: dict[str, str] | None = None
) -> None:
    extra = encryption or {}
    upload = {"Bucket": PLAIN, "Key": key}
    upload["UploadId"] = s3.create_multipart_upload(**upload, **extra)["UploadId"]
    parts = [
        {
            "PartNumber": number,
            "ETag": s3.upload_part(**upload, PartNumber=number, Body=content(f"{key}{number}", size), **extra)["ETag"],
        }
        for number, size in sizes.items()
    ]
    if complete:
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})


def copied(data_dir: Path, destination: Path) -> Path:
    """A copy of a store at rest, to be spoilt."""
    shutil.copytree(data_dir, destination)
    return destination


def with_store(data_dir: Path, work: Callable[[OpenStore], Awaitable[T]]) -> T:
    """What `work` returns, with the store opened as the commands open it."""

    async def opened() -> T:
        store = await open_store(data_dir, config.load(data_dir, environ={}))
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())
