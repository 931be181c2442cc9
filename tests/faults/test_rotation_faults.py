import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from strongroom.server.paths import Paths
from tests.harness import STRONGROOM
from tests.stored import copied, make_store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("sound"), first_part=0)


@pytest.mark.parametrize("finish", ["the next start", "the next run"])
@pytest.mark.parametrize(("kind", "steps"), [("store key", 30), ("bucket secrets", 8)])
def test_a_rotation_killed_at_any_step_is_finished_and_nothing_is_lost(sound, tmp_path, kind, steps, finish) -> None:
    """After each kill: every row and blob opens, a bucket can be made; and when somebody has done the rest, one key is
    left and everything is under it.
    """
    assert _steps(sound, copied(sound, tmp_path / "data"), kind, finish) > steps


@pytest.mark.parametrize("finish", ["the next start", "the next run"])
def test_a_move_into_the_key_service_and_out_again_killed_at_any_step_is_finished(sound, tmp_path, finish) -> None:
    data_dir = copied(sound, tmp_path / "data")
    with key_service(data_dir):
        assert _steps(sound, data_dir, "to the kms", finish) > 30
        assert [path.suffix for path in Paths(data_dir).keys.iterdir()] == [".kms"]
        sealed = Paths(tmp_path / "sealed")
        shutil.copytree(Paths(data_dir).s3, sealed.s3)
        assert _steps(sealed.data_dir, data_dir, "to a key file", finish) > 30
        assert [path.suffix for path in Paths(data_dir).keys.iterdir()] == [".key"]


@contextmanager
def key_service(data_dir: Path) -> Iterator[None]:
    """`strongroom kms` alone, beside nothing."""
    command = [STRONGROOM, "kms", "--data-dir", str(data_dir), "--listen", "off", "--listen-metrics", "off"]
    quiet = {**os.environ, "STRONGROOM_LOG_LEVEL": "warning"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=quiet) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"Strongroom KMS is ready")
            yield
        finally:
            process.terminate()


def _steps(sound: Path, data_dir: Path, kind: str, finish: str) -> int:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.faults.rotation_steps", sound, data_dir, kind, finish],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout)
