"""A disk that is full, by uploads or by another program, keeps no server from starting: deleting is the way out."""

from pathlib import Path

import pytest

from tests.faults.children import on_small_disk, run

SCRIPT = """
import sys, time
from pathlib import Path
from tests.harness import new_server, wait_until

disk, filled_by, log = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
server = new_server(disk, "--workers", "1")
server.log = log
server.start()
try:
    wait_until(lambda: "proved" in log.read_text())  # the banner comes after the readiness
    assert server.send("PUT", "/bucket").status == 200
    count = 0
    while server.send("PUT", f"/bucket/{count}", body=bytes(4 << 20)).status == 200:
        count += 1
    if filled_by == "another program":
        with open(disk / "filler", "wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                pass
    workers = server.workers()

    def reads_and_deletes(key):
        for method, target, status in (
            ("GET", "/bucket?list-type=2", 200), ("HEAD", "/bucket", 200), ("GET", "/", 200),
            ("GET", "/bucket?versions", 200),
            ("GET", "/bucket?uploads", 200), ("GET", "/bucket?location", 200), ("GET", "/bucket?policy", 501),
            ("GET", f"/bucket/{key}", 200), ("GET", f"/bucket/{key}?tagging", 200), ("DELETE", f"/bucket/{key}", 204),
            ("GET", f"/bucket/{key}", 404), ("PUT", "/bucket/new", 503),
        ):
            reply = server.send(method, target, body=bytes(4 << 20) if method == "PUT" else b"")
            assert reply.status == status, (method, target, reply)

    for key, end in enumerate((server.stop, server.kill, server.stop)):
        reads_and_deletes(key)
        assert server.workers() == workers, log.read_text()
        end()
        server.start()
        while log.read_text().count("not proved this time") <= key:  # the banner comes after the readiness
            time.sleep(0.01)
        workers = server.workers()
    assert server.stop() == 0
    assert " WARNING Request operation=PutObject " in log.read_text()
    assert "Traceback" not in log.read_text()
finally:
    if server.process.poll() is None:
        server.kill()
print("done", count)
"""


@pytest.mark.parametrize("filled_by", ["uploads", "another program"])
def test_a_full_disk_is_served_and_keeps_no_server_from_starting(tmp_path: Path, filled_by: str) -> None:
    disk = tmp_path / "disk"
    assert run(SCRIPT, disk, filled_by, tmp_path / "log", under=on_small_disk(disk, "96m")).startswith("done")
