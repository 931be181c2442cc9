"""The files of `LocalBlobs`, in synchronous steps. Each may block.

    DIRECTORY/ab/ab12...      a blob: the 32 hex digits of its id, under the first two
    DIRECTORY/tmp/...         files being written, each under an flock of its writer
    DIRECTORY                 under an flock while somebody (a backup) holds the blobs

Order of durability: write, fsync of the file, rename, fsync of the directory. The flock dies with its writer, so that
any process can tell an abandoned file from one in use. Everything is opened relative to a directory's descriptor and
without following symlinks, and is 0700/0600 whatever the umask.
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

from strongroom.blobs.store import BlobId, BlobMissing, ListedBlob, StorageFull, StorageUnavailable

_TEMPORARY = "tmp"
_SHARDS = tuple(f"{number:02x}" for number in range(256))
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
# A long blob goes to the disk as it arrives, or the last fsync would keep the client waiting for gigabytes.
_UNSYNCED_BYTES = 128 << 20
# Removals look at the lock for microseconds; who has it for longer is another holder.
_HOLD_PATIENCE, _HOLD_POLL = 2.0, 0.01  # seconds


class BlobsHeld(Exception):
    """Somebody holds the blobs already."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Descriptors of the blobs' directory and of its `tmp`."""

    root: int
    temporary: int

    def close(self) -> None:
        os.close(self.temporary)
        os.close(self.root)


def open_tree(directory: str) -> Tree:
    """The tree in `directory`; what is missing of it is made, but not the parents. Raises OSError."""
    missing = _make_directory(directory)
    root = _open_directory(directory)
    try:
        os.fchmod(root, 0o700)
        below = [_make_directory(name, root) for name in (_TEMPORARY, *_SHARDS)]
        if any(below):
            os.fsync(root)
        if missing:
            with opened(_open_directory(os.path.dirname(directory) or ".")) as parent:
                os.fsync(parent)
        return Tree(root, _open_directory(_TEMPORARY, root))
    except BaseException:
        os.close(root)
        raise


class NewFile:
    """A blob on its way to its name: `append` any number of times, then `publish`; or `discard` at any time.

    After an exception only `discard` makes sense. Above all, nothing repeats a failed fsync: Linux reports a lost write
    once, and the next fsync of the same file succeeds without it (lwn.net/Articles/752063).
    """

    __slots__ = ("_blob_id", "_descriptor", "_keep_free", "_temporary_name", "_tree", "_unsynced")

    def __init__(self, tree: Tree, blob_id: BlobId, *, keep_free: int) -> None:
        self._tree = tree
        self._blob_id = blob_id
        self._keep_free = keep_free
        self._descriptor = -1
        self._temporary_name = ""
        self._unsynced = 0

    def append(self, buffers: Sequence[bytes]) -> None:
        """At most IOV_MAX buffers. Raises StorageFull also where less than `keep_free` of the disk would be left."""
        size = sum(map(len, buffers))
        with translated():
            if self._descriptor < 0:
                self._create()
            disk = os.fstatvfs(self._descriptor)
            if disk.f_bavail * disk.f_frsize < self._keep_free + size:
                raise StorageFull("the rest of the disk is kept for the database")
            if self._unsynced >= _UNSYNCED_BYTES:
                os.fdatasync(self._descriptor)
                self._unsynced = 0
            _write_all(self._descriptor, buffers, size)
            self._unsynced += size

    def publish(self, buffers: Sequence[bytes]) -> None:
        """Append the last of it; on return the bytes and the name are durable."""
        self.append(buffers)
        with translated(), _opened_shard(self._tree, self._blob_id) as shard:
            os.fsync(self._descriptor)
            os.rename(self._temporary_name, self._blob_id.hex(), src_dir_fd=self._tree.temporary, dst_dir_fd=shard)
            os.fsync(shard)
            self._close()

    def discard(self) -> None:
        """Leave nothing behind, however far it came."""
        with suppress(OSError, StorageUnavailable):  # what cannot be removed now is abandoned, or an orphan
            self._close()
            remove_blob(self._tree, self._blob_id)
            os.unlink(self._temporary_name, dir_fd=self._tree.temporary)

    def _create(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        while True:
            self._temporary_name = os.urandom(16).hex()
            self._descriptor = os.open(self._temporary_name, flags, 0o600, dir_fd=self._tree.temporary)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            if os.fstat(self._descriptor).st_nlink:
                break
            self._close()  # remove_abandoned came between open and flock and took it for a dead writer's
        os.fchmod(self._descriptor, 0o600)

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def open_blob(tree: Tree, blob_id: BlobId) -> int:
    """A descriptor to read from. Raises BlobMissing, StorageUnavailable."""
    try:
        with translated(), _opened_shard(tree, blob_id) as shard:
            return os.open(blob_id.hex(), os.O_RDONLY | os.O_NOFOLLOW, dir_fd=shard)
    except FileNotFoundError:
        raise BlobMissing(f"there is no blob {blob_id.hex()}") from None


def read_block(descriptor: int, start: int, stop: int) -> bytes:
    """At least one byte of `start` <= offset < `stop`, normally all. Raises BlobMissing, StorageUnavailable."""
    with translated():
        block = os.pread(descriptor, stop - start, start)
    if not block:
        raise BlobMissing(f"the blob ends before {stop}")
    return block


@contextmanager
def new_blob_file(tree: Tree, blob_id: BlobId) -> Iterator[int]:
    """A descriptor to write a blob's copy to, under its name from the start. For a store that nobody serves yet. Raises
    StorageUnavailable.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with translated(), _opened_shard(tree, blob_id) as shard:
        descriptor = os.open(blob_id.hex(), flags, 0o600, dir_fd=shard)
    with opened(descriptor):
        os.fchmod(descriptor, 0o600)
        yield descriptor


def sync_shards(tree: Tree) -> None:
    """Make every name below durable. Raises StorageUnavailable."""
    for name in _SHARDS:
        with translated(), opened(_open_directory(name, tree.root)) as shard:
            os.fsync(shard)


def remove_blob(tree: Tree, blob_id: BlobId) -> None:
    """Remove the blob if it is there. Raises StorageUnavailable.

    Without an fsync: a removal that a power cut undoes leaves a blob without a row, which the collector of orphans
    finds.
    """
    with translated(), suppress(FileNotFoundError), _opened_shard(tree, blob_id) as shard:
        os.unlink(blob_id.hex(), dir_fd=shard)


def remove_unless_held(tree: Tree, blob_id: BlobId) -> bool:
    """`remove_blob`; False where somebody holds the blobs.

    To look and then to remove is enough, though somebody may take hold in between: whoever does reads the index after
    that, and a blob that is being removed was given up in the index before.
    """
    try:
        fcntl.flock(tree.root, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(tree.root, fcntl.LOCK_UN)
    remove_blob(tree, blob_id)
    return True


@contextmanager
def held(tree: Tree) -> Iterator[None]:
    """Meanwhile no process removes a blob that a row named. The kernel lets go when the holder dies. Raises BlobsHeld
    where somebody holds them already.
    """
    # A descriptor of its own: an flock belongs to the open file, and this process's own removals must see it too.
    with opened(_open_directory(".", tree.root)) as descriptor:
        end = time.monotonic() + _HOLD_PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise BlobsHeld("another backup is running") from None
            time.sleep(_HOLD_POLL)
        yield


def list_blobs(tree: Tree) -> Iterator[Sequence[ListedBlob]]:
    """All blobs, a directory at a time; what has no blob's name or is no regular file is passed over."""
    for name in _SHARDS:
        with translated(), opened(_open_directory(name, tree.root)) as shard, os.scandir(shard) as entries:
            blobs = [blob for entry in entries if (blob := _listed(entry, name)) is not None]
        yield blobs


def remove_abandoned(tree: Tree) -> int:
    """Remove the temporary files whose writer, in any process, is dead; return how many there were."""
    with translated():
        return sum(_removed_if_abandoned(name, tree.temporary) for name in os.listdir(tree.temporary))


@contextmanager
def translated() -> Iterator[None]:
    """Turn the system's refusals into StorageUnavailable or StorageFull; FileNotFoundError stays what it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        kind = StorageFull if error.errno in _NO_SPACE else StorageUnavailable
        raise kind(f"blobs: {os.strerror(error.errno or 0)}") from error


@contextmanager
def opened(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_directory(name: str, parent: int | None = None) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)


def _opened_shard(tree: Tree, blob_id: BlobId) -> AbstractContextManager[int]:
    return opened(_open_directory(_shard_of(blob_id), tree.root))


def _shard_of(blob_id: BlobId) -> str:
    return blob_id[:1].hex()


def _make_directory(name: str, parent: int | None = None) -> bool:
    """Whether it was missing. Raises FileExistsError where something else has the name."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise
        return False
    os.chmod(name, 0o700, dir_fd=parent)  # the umask may have taken more than group's and others' rights
    return True


def _write_all(descriptor: int, buffers: Sequence[bytes], size: int) -> None:
    written = os.writev(descriptor, buffers)
    if written < size:  # the disk filled up, or a signal came: rare enough to pay with a copy
        rest = memoryview(b"".join(buffers))
        while written < size:
            written += os.write(descriptor, rest[written:])


def _listed(entry: os.DirEntry[str], shard: str) -> ListedBlob | None:
    try:
        blob_id = BlobId(bytes.fromhex(entry.name))
        status = entry.stat(follow_symlinks=False)
    except (ValueError, FileNotFoundError):  # FileNotFoundError: removed since
        return None
    named_as_blob = len(blob_id) == 16 and blob_id.hex() == entry.name and _shard_of(blob_id) == shard
    if not named_as_blob or not stat.S_ISREG(status.st_mode):
        return None
    return ListedBlob(blob_id, status.st_size, status.st_mtime)


def _removed_if_abandoned(name: str, temporary: int) -> bool:
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=temporary)
    except FileNotFoundError:  # published since
        return False
    with opened(descriptor):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=temporary)  # a name is never used again: that file or, once published, none
        except (BlockingIOError, FileNotFoundError):
            return False
    return True
