"""The log as whoever runs a server reads it."""

import json
from pathlib import Path

from tests.harness import running


def test_a_line_for_each_request_and_none_for_what_probes_ask(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "1") as server:
        assert server.send("GET", "/-/live", sign=False).status == 200
        reply = server.send("GET", "/photos/cat")
        assert server.stop() == 0
    lines = [line for line in server.log.read_text().splitlines() if " Request " in line]
    (line,) = lines
    assert " INFO Request operation=GetObject method=GET bucket=photos key=cat status=404 code=NoSuchBucket " in line
    assert line.endswith(f"request_id={reply.headers['x-amz-request-id']} host_id={reply.headers['x-amz-id-2']}")


def test_probes_are_there_for_whoever_asks(tmp_path: Path) -> None:
    environment = {"STRONGROOM_LOG_LEVEL": "debug", "STRONGROOM_LOG_FORMAT": "json"}
    with running(tmp_path, "--workers", "1", environment=environment) as server:
        assert server.stop() == 0
    told = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    assert {(line["level"], line["operation"], line["status"]) for line in told} == {("debug", "HealthCheck", 200)}
