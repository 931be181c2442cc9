import subprocess
import sys
from pathlib import Path

import pytest

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
    data_dir = copied(sound, tmp_path / "data")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.faults.rotation_steps", sound, data_dir, kind, finish],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > steps
