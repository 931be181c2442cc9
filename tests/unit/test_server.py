"""What a start refuses, because to go on would lose data or pretend that all is well."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom import config
from strongroom.config import Settings
from strongroom.server.paths import Paths, StartError
from strongroom.server.store import initialise


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return config.load(tmp_path, environ={})


@pytest.fixture
def paths(tmp_path: Path, settings: Settings) -> Paths:
    """A store with a blob."""
    found = Paths(tmp_path / "data")
    initialise(found.data_dir, settings)
    blob = found.blobs / "ab" / ("ab" * 16)
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(b"ciphertext")
    return found


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, 0)


def forget(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM store")
    connection.close()


@pytest.mark.parametrize("lose", [remove, cut, forget])
def test_no_new_index_is_made_over_blobs(paths: Paths, settings: Settings, lose: Callable[[Path], None]) -> None:
    """The collector of orphans would delete every one of them."""
    lose(paths.index)
    before = paths.index.read_bytes() if paths.index.exists() else None
    with pytest.raises(StartError, match=r"index\.db .*blobs holds objects\. Restore the index from a backup"):
        initialise(paths.data_dir, settings)
    assert (paths.index.read_bytes() if paths.index.exists() else None) == before


@pytest.mark.parametrize(("start", "told"), [(0, "file is not a database"), (8192, "malformed")])
def test_a_damaged_index_is_one_sentence(paths: Paths, settings: Settings, start: int, told: str) -> None:
    with paths.index.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * 65536)
    with pytest.raises(StartError, match=f"{paths.index} is damaged .*{told}.* from a backup") as caught:
        initialise(paths.data_dir, settings)
    assert "\n" not in str(caught.value)


def test_a_store_key_that_would_not_be_used_is_refused(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gives one believes that no key lies on the disk."""
    monkeypatch.setenv("STRONGROOM_STORE_KEY", "c2VjcmV0")
    with pytest.raises(StartError, match="STRONGROOM_STORE_KEY_SOURCE=environment") as caught:
        initialise(tmp_path / "data", settings)
    assert "c2VjcmV0" not in str(caught.value)
    assert not list(Paths(tmp_path / "data").keys.iterdir())


def test_without_its_key_a_store_is_refused_and_gets_no_other(paths: Paths, settings: Settings) -> None:
    (key,) = paths.keys.iterdir()
    key.unlink()
    with pytest.raises(StartError, match=f"its store key is {key.stem}.* Put the key file back into {paths.keys}"):
        initialise(paths.data_dir, settings)
    assert not list(paths.keys.iterdir())


def test_an_index_that_cannot_be_used_now_is_a_matter_for_the_doctor(paths: Paths, settings: Settings) -> None:
    paths.index.with_name("index.db-wal").mkdir()  # SQLITE_CANTOPEN, for root too
    with pytest.raises(StartError, match=r"can't be opened: .*SQLITE_CANTOPEN.*`strongroom doctor` looks at permiss"):
        initialise(paths.data_dir, settings)
