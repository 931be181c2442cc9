import os
import stat

import pytest

from strongroom.database.private_file import make_private_directory, write_private


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def test_files_and_directories_are_private_whatever_the_umask(tmp_path, open_umask) -> None:
    make_private_directory(tmp_path / "a" / "b")
    write_private(tmp_path / "a" / "b" / "key", b"secret")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/b/key")]
    assert modes == [0o700, 0o700, 0o600]


def test_a_directory_that_exists_is_left_as_it_is(tmp_path) -> None:
    tmp_path.chmod(0o755)
    make_private_directory(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_replacing_leaves_one_whole_file(tmp_path) -> None:
    write_private(tmp_path / "key", b"old")
    write_private(tmp_path / "key", b"new")
    assert (tmp_path / "key").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["key"]


def test_without_replace_an_existing_file_is_left_alone(tmp_path) -> None:
    write_private(tmp_path / "key", b"old", replace=False)
    with pytest.raises(FileExistsError):
        write_private(tmp_path / "key", b"new", replace=False)
    assert (tmp_path / "key").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["key"]


def test_a_symbolic_link_is_replaced_and_not_followed(tmp_path) -> None:
    (tmp_path / "target").write_bytes(b"theirs")
    (tmp_path / "key").symlink_to(tmp_path / "target")
    write_private(tmp_path / "key", b"ours")
    assert (tmp_path / "target").read_bytes() == b"theirs"
    assert not (tmp_path / "key").is_symlink()


def test_a_failure_leaves_nothing(tmp_path) -> None:
    (tmp_path / "key").mkdir()
    with pytest.raises(IsADirectoryError):
        write_private(tmp_path / "key", b"new")
    assert os.listdir(tmp_path) == ["key"]
