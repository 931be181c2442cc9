"""Clients that keep a server busy and remember what it acknowledged, for tests that do something beside or to it."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.harness import Server

MIB = 1 << 20
REFUSALS = (BotoCoreError, ClientError, ConnectionError)


def body(size: int) -> bytes:
    """Random bytes that begin with the digest of the rest, so that a reader needs nothing else to judge them."""
    rest = os.urandom(size)
    return hashlib.sha256(rest).digest() + rest


def is_whole(data: bytes) -> bool:
    return hashlib.sha256(data[32:]).digest() == data[:32]


@dataclass(slots=True)
class Load:
    """`kept`: digests of acknowledged objects by key; what is deleted on purpose goes from there first. `failures`:
    what a client got instead of an answer.
    """

    server: Server
    bucket: str
    kept: dict[str, bytes] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    requests: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        s3 = self.server.s3(read_timeout=20)
        turn = 0
        while not self._stop.is_set():
            turn += 1
            try:
                self._turn(s3, f"{number}/{turn:05}")
            except REFUSALS as error:
                self.failures.append(repr(error))
                time.sleep(0.01)  # a server that is being killed: no busy loop

    def _turn(self, s3: Any, key: str) -> None:
        data = body(int.from_bytes(os.urandom(2), "big"))
        self._put(s3, key, data)
        if not is_whole(s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()):
            self.failures.append(f"{key} came back different")
        self._put_part(s3, f"{key}-parts", body(5000))
        s3.list_objects_v2(Bucket=self.bucket, Prefix=key[:-1])
        s3.put_object(Bucket=self.bucket, Key=f"{key}-gone", Body=data)
        s3.delete_object(Bucket=self.bucket, Key=f"{key}-gone")
        self.requests += 8

    def _put(self, s3: Any, key: str, data: bytes) -> None:
        s3.put_object(Bucket=self.bucket, Key=key, Body=data)
        self.kept[key] = hashlib.sha256(data).digest()

    def _put_part(self, s3: Any, key: str, data: bytes) -> None:
        upload = {"Bucket": self.bucket, "Key": key}
        upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
        etag = s3.upload_part(**upload, PartNumber=1, Body=data)["ETag"]
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
        self.kept[key] = hashlib.sha256(data).digest()

    def lost(self) -> list[str]:
        """The acknowledged objects that are not there as they were written."""
        s3 = self.server.s3()
        return [key for key, digest in self.kept.items() if not self._is_there(s3, key, digest)]

    def _is_there(self, s3: Any, key: str, digest: bytes) -> bool:
        try:
            data: bytes = s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except REFUSALS:
            return False
        return hashlib.sha256(data).digest() == digest


@contextmanager
def under_load(server: Server, bucket: str, *, clients: int = 3) -> Iterator[Load]:
    """Clients write, read, list and delete in an existing bucket until the block ends."""
    load = Load(server, bucket)
    threads = [threading.Thread(target=load.run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load._stop.set()
        for thread in threads:
            thread.join(60)
