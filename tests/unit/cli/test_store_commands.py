"""verify, gc, backup and the rotations as programs: what they say and the codes they end with."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.server.paths import Paths
from tests.harness import Server, running
from tests.stored import PLAIN, copied, make_store

PROGRAM = Path(sys.executable).with_name("strongroom")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("sound"), first_part=0)


@pytest.fixture
def data_dir(sound: Path, tmp_path: Path) -> Path:
    return copied(sound, tmp_path / "data")


def run(*arguments: object, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr
    return done


def some_blob(data_dir: Path) -> Path:
    return max(Paths(data_dir).blobs.glob("??/*"), key=lambda path: path.stat().st_size)


# --- verify


def test_verify_of_a_sound_store(sound) -> None:
    done = run("verify", "--data-dir", sound)
    assert (done.returncode, done.stderr) == (0, "")  # the progress bar is for terminals
    (line,) = done.stdout.splitlines()
    assert line.startswith(
        "Sound. As they should be: 2 buckets, 0 bucket keys, 8 versions, 1 delete markers, 3 uploads;"
    )
    assert "4 of SSE-C and SSE-KMS (140,000 bytes) checked without their keys" in line
    summary = json.loads(run("verify", "--data-dir", sound, "--json").stdout)
    assert (summary["type"], summary["damages"], summary["blobs_without_key"]) == ("summary", 0, 4)


def test_verify_names_what_is_damaged(data_dir) -> None:
    path = some_blob(data_dir)
    path.unlink()
    done = run("verify", "--data-dir", data_dir)
    assert done.returncode == 1
    damage, summary = done.stdout.splitlines()
    assert damage.startswith("damage: bucket 'plain', key '")
    assert f"version 'null', part 0: blob {path.name}: it is missing" in damage
    assert summary.startswith("Damaged in 1 places")
    told = [json.loads(line) for line in run("verify", "--data-dir", data_dir, "--json").stdout.splitlines()]
    assert [each["type"] for each in told] == ["damage", "summary"]
    assert (told[0]["bucket"], told[0]["part"], told[1]["damages"]) == (PLAIN, 0, 1)
    assert run("verify", "--data-dir", data_dir, "--bucket", "versioned").returncode == 0


@pytest.mark.parametrize("offset", [0, 20_000])
def test_verify_of_a_broken_index_file_is_damage(data_dir, offset) -> None:
    path = Paths(data_dir).index
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"garbage!" * 512)
    done = run("verify", "--data-dir", data_dir)
    assert done.returncode == 1
    assert done.stdout.startswith("damage: the index")


@pytest.mark.parametrize("how", ["absent", "no key", "no bucket", "settings"])
def test_verify_that_cannot_run_is_code_2_and_one_sentence(data_dir, how) -> None:
    arguments: list[object] = ["--data-dir", data_dir]
    match how:
        case "absent":
            arguments = ["--data-dir", data_dir / "absent"]
        case "no key":
            shutil.rmtree(Paths(data_dir).keys)
        case "no bucket":
            arguments += ["--bucket", "no-such-bucket"]
        case "settings":
            (data_dir / "strongroom.toml").write_text("nonsense = 1")
    done = run("verify", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("strongroom: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["verify", "gc", "rotate-store-key", "rotate-bucket-secrets", "backup"])
def test_no_command_works_for_another_user_than_the_stores(data_dir, tmp_path, name) -> None:
    """What root makes in there, a key file above all, the server could not read."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(Paths(data_dir).index, 12345, -1)
    before = sorted(path.name for path in Paths(data_dir).s3.rglob("*"))
    done = run(name, "--data-dir", data_dir, *([tmp_path / "copy"] if name == "backup" else []))
    assert done.returncode == (2 if name == "verify" else 1)
    assert "belongs to uid 12345: run this as that user" in done.stderr
    assert sorted(path.name for path in Paths(data_dir).s3.rglob("*")) == before


# --- gc


def test_gc_says_what_it_did(data_dir) -> None:
    orphan = Paths(data_dir).blobs / "ab" / ("ab" * 16)
    orphan.write_bytes(b"nobody's")
    (Paths(data_dir).blobs / "tmp" / "left").write_bytes(b"by a writer that died")
    told = json.loads(run("gc", "--data-dir", data_dir, "--json").stdout)
    assert told == {"orphans": 0, "orphan_bytes": 0, "temporary": 1, "deleted": 0, "waiting": 0}  # too young
    no_grace = {"STRONGROOM_DELETION_GRACE": "0"}
    done = run("gc", "--data-dir", data_dir, "--older-than", 0, environment=no_grace)
    assert done.returncode == 0
    assert "1 blobs without an object (8 bytes) were queued for deletion. 1 blobs were deleted; 0 wait" in done.stdout
    assert not orphan.exists()
    assert run("gc", "--data-dir", data_dir, "--older-than", -1).returncode == 2


# --- rotation


def test_rotation_says_that_old_backups_need_the_old_key(data_dir) -> None:
    (old,) = (path.stem for path in Paths(data_dir).keys.iterdir())
    done = run("rotate-store-key", "--data-dir", data_dir)
    (new,) = (path.stem for path in Paths(data_dir).keys.iterdir())
    assert done.returncode == 0
    assert "Backups made before now still need it" in done.stderr
    assert f"Backups made until now open only with {old}; those made from now on, with {new}." in done.stdout
    assert f"Copy {Paths(data_dir).keys / new}.key to a safe place now." in done.stdout
    assert run("verify", "--data-dir", data_dir).returncode == 0


def test_rotation_of_one_buckets_secret(data_dir) -> None:
    done = run("rotate-bucket-secrets", "--data-dir", data_dir, "--bucket", PLAIN)
    assert done.stdout == "Fresh secrets seal what is written to 1 buckets.\n"
    done = run("rotate-bucket-secrets", "--data-dir", data_dir, "--bucket", "no-such-bucket")
    assert (done.returncode, done.stderr) == (1, "strongroom: there is no bucket 'no-such-bucket'\n")


# --- backup


def test_a_backup_without_keys_names_the_key_and_serves_once_it_is_there(data_dir, tmp_path) -> None:
    copy = tmp_path / "copy" / "data"
    (data_dir / "strongroom.toml").write_text("deletion_grace = 7")
    done = run("backup", "--data-dir", data_dir, copy)
    assert done.returncode == 0
    (key,) = Paths(data_dir).keys.iterdir()
    assert f"Without the store key {key.stem} nothing of it can be read" in done.stdout
    assert "without the identity key no user" in done.stdout
    assert sorted(path.name for path in copy.iterdir()) == ["audit", "identity", "kms", "s3", "strongroom.toml"]
    assert [path.name for path in Paths(copy).kms.iterdir()] == ["kms.db"]
    assert [path.name for path in Paths(copy).identity.directory.iterdir()] == ["identity.db"]
    assert list(Paths(copy).keys.iterdir()) == []
    assert sorted(path.name for path in Paths(copy).s3.iterdir()) == ["blobs", "index.db", "keys"]
    serve = ("serve", "--data-dir", copy, "--listen", "127.0.0.1:0", "--listen-tls", "off", "--kms-listen", "off")
    for original, lacks in (
        (Paths(data_dir).identity.key, "identity.key is missing"),
        (Paths(data_dir).kms / "root.key", "strongroom: The key service in"),
        (key, f"its store key is {key.stem}"),
    ):
        refused = run(*serve)
        assert refused.returncode == 1
        assert lacks in refused.stderr
        shutil.copy2(original, copy / original.relative_to(data_dir))
    with running(tmp_path / "copy") as server:
        assert len(server.s3().list_objects_v2(Bucket=PLAIN)["Contents"]) == 6
    assert run("verify", "--data-dir", copy).returncode == 0


def test_a_backup_with_keys_has_all_that_a_server_is(data_dir, tmp_path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o755)
    done = run("backup", "--data-dir", data_dir, copy, "--with-keys")
    assert "guard it as you guard them" in done.stdout
    for name in (
        "credentials",
        "ca.pem",
        "tls/ca-key.pem",
        "identity/identity.key",
        *(f"s3/keys/{p.name}" for p in Paths(data_dir).keys.iterdir()),
    ):
        assert (copy / name).read_bytes() == (data_dir / name).read_bytes()
        assert (copy / name).stat().st_mode & 0o777 == 0o600
    assert copy.stat().st_mode & 0o777 == 0o700
    assert run("verify", "--data-dir", copy).returncode == 0


def test_a_backup_opens_what_the_kms_seals(tmp_path) -> None:
    """Made beside a running server, in the middle of its life: keys change before and after."""
    with running(tmp_path) as server:
        s3 = server.s3()
        s3.create_bucket(Bucket="sealed")
        key_id = made_key(server)
        s3.put_object(Bucket="sealed", Key="k", Body=b"body", ServerSideEncryption="aws:kms", SSEKMSKeyId=key_id)
        copies = [tmp_path / "with" / "data", tmp_path / "without" / "data"]
        done = run("backup", "--data-dir", server.data_dir, copies[0], "--with-keys")
        assert "the KMS with its audit log and the users are in" in done.stdout
        assert "the key files of the KMS (kms/root.key), the identity key" in done.stdout
        done = run("backup", "--data-dir", server.data_dir, copies[1])
        assert "opens with any one of its unseal slots: slot 'default' (key file root.key)" in done.stdout
        told = json.loads(run("backup", "--data-dir", server.data_dir, tmp_path / "third", "--json").stdout)
        assert (told["unseal_slots"], told["lacks"]) == (["slot 'default' (key file root.key)"], [])
        made_key(server)
    root_key = server.data_dir / "kms" / "root.key"
    assert (copies[0] / "kms" / "root.key").read_bytes() == root_key.read_bytes()
    assert not (copies[1] / "kms" / "root.key").exists()
    for name in (
        "kms/root.key",
        "identity/identity.key",
        *(f"s3/keys/{p.name}" for p in Paths(server.data_dir).keys.iterdir()),
    ):
        shutil.copy2(server.data_dir / name, copies[1] / name)
    for copy in copies:
        assert run("verify", "--data-dir", copy).returncode == 0
        with running(copy.parent) as restored:
            assert restored.s3().get_object(Bucket="sealed", Key="k")["Body"].read() == b"body"
        assert "Sound." in run("audit", "verify", "--data-dir", copy).stdout


def made_key(server: Server) -> str:
    done = run(
        "key",
        "create",
        "--data-dir",
        server.data_dir,
        "--endpoint-url",
        f"http://127.0.0.1:{server.kms_port}",
        "--json",
    )
    key_id: str = json.loads(done.stdout)["KeyId"]
    return key_id


def test_a_store_key_in_the_kms_is_backed_up_as_it_is(tmp_path) -> None:
    with running(tmp_path, environment={"STRONGROOM_STORE_KEY_SOURCE": "kms"}) as server:
        server.s3().create_bucket(Bucket="b")
        server.s3().put_object(Bucket="b", Key="k", Body=b"body")
        copy = tmp_path / "copy" / "data"
        source = {"STRONGROOM_STORE_KEY_SOURCE": "kms"}
        assert run("backup", "--data-dir", server.data_dir, copy, "--with-keys", environment=source).returncode == 0
    assert [path.suffix for path in Paths(copy).keys.iterdir()] == [".kms"]
    with running(copy.parent, environment={"STRONGROOM_STORE_KEY_SOURCE": "kms"}) as restored:
        assert restored.s3().get_object(Bucket="b", Key="k")["Body"].read() == b"body"


@pytest.mark.parametrize("where", ["itself", "inside", "not empty", "a file"])
def test_a_backup_goes_into_a_directory_of_its_own(data_dir, tmp_path, where) -> None:
    destination = {
        "itself": data_dir,
        "inside": data_dir / "backup",
        "not empty": tmp_path / "used",
        "a file": tmp_path / "file",
    }[where]
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    (tmp_path / "file").touch()
    done = run("backup", "--data-dir", data_dir, destination)
    assert (done.returncode, done.stdout) == (1, "")
    assert str(destination) in done.stderr
    assert not (data_dir / "backup").exists()


def test_keys_that_are_no_files_cannot_be_backed_up(data_dir, tmp_path) -> None:
    source = {"STRONGROOM_STORE_KEY_SOURCE": "environment"}
    done = run("backup", "--data-dir", data_dir, tmp_path / "copy", "--with-keys", environment=source)
    assert done.returncode == 1
    assert "is no file" in done.stderr
    assert not (tmp_path / "copy").exists()
    # Without them the command needs no key at all.
    assert run("backup", "--data-dir", data_dir, tmp_path / "copy", environment=source).returncode == 0


def test_a_backup_that_lacks_a_blob_says_so_and_holds_the_rest(data_dir, tmp_path) -> None:
    path = some_blob(data_dir)
    path.unlink()
    done = run("backup", "--data-dir", data_dir, tmp_path / "copy", "--with-keys")
    assert done.returncode == 1
    assert "1 blobs could not be read" in done.stdout
    assert path.name in done.stdout
    found = run("verify", "--data-dir", tmp_path / "copy")
    assert found.returncode == 1
    assert found.stdout.count("damage: ") == 1


def test_half_a_backup_is_not_taken_for_a_whole_one(data_dir, tmp_path) -> None:
    """As a kill before the end leaves it: everything but the index's name."""
    copy = tmp_path / "copy"
    run("backup", "--data-dir", data_dir, copy, "--with-keys")
    Paths(copy).index.rename(Paths(copy).index.with_suffix(".incomplete"))
    done = run("serve", "--data-dir", copy, "--listen", "127.0.0.1:0", "--listen-tls", "off", "--kms-listen", "off")
    assert done.returncode == 1
    assert "is missing" in done.stderr
    assert run("verify", "--data-dir", copy).returncode == 2
