"""Users against a running server with several workers: what is taken away is gone with the next request, rows that
somebody edited deny, and no secret shows anywhere.
"""

import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.identity.users import Users
from strongroom.server.paths import Paths
from tests.harness import STRONGROOM, Server, running
from tests.people import allow, arn, deny, new_user, policy, with_users
from tests.security.test_unsigned_requests import metrics_of
from tests.wire import presign

REQUESTS = 24  # each on a connection of its own, so that every worker gets some


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(
        tmp_path_factory.mktemp("users"), "--workers", "3", environment={"STRONGROOM_LOG_LEVEL": "debug"}
    ) as started:
        assert started.send("PUT", "/bucket").status == 200
        assert started.send("PUT", "/bucket/object", body=b"content").status == 200
        yield started


def metrics(server: Server) -> str:
    return metrics_of(server).send("GET", "/metrics", sign=False).body.decode()


def command(server: Server, *arguments: str, input: str | None = None) -> str:
    done = subprocess.run(
        [STRONGROOM, *arguments, "--data-dir", str(server.data_dir)],
        capture_output=True,
        text=True,
        check=True,
        input=input,
        timeout=60,
    )
    return done.stdout


def answers(person: Server) -> set[tuple[int, str]]:
    replies = [person.send("GET", "/bucket/object") for _ in range(REQUESTS)]
    return {(reply.status, reply.code) for reply in replies}


def test_a_deactivated_key_is_refused_by_every_worker_with_the_next_request(server: Server) -> None:
    """Peer-bugs F5: caches that outlive a revocation."""
    person = new_user(server, allow("s3:*"))
    assert answers(person) == {(200, "")}
    url = presign(person, "GET", "/bucket/object")
    for change, wanted in (
        ("deactivate", {(403, "InvalidAccessKeyId")}),
        ("activate", {(200, "")}),
        ("delete", {(403, "InvalidAccessKeyId")}),
    ):
        command(server, "access-key", change, person.access_key_id)
        assert answers(person) == wanted
        assert (server.send("GET", url, sign=False).status == 200) is (change == "activate")


def test_a_policy_that_changes_holds_for_the_next_request(server: Server) -> None:
    person = new_user(server, allow("s3:*"), name="changing")
    assert answers(person) == {(200, "")}
    command(server, "user", "policy", "put", "changing", "more", input=policy(deny("s3:GetObject")))
    assert answers(person) == {(403, "AccessDenied")}
    command(server, "user", "policy", "delete", "changing", "more")
    assert answers(person) == {(200, "")}
    command(server, "user", "policy", "delete", "changing", "policy")
    assert answers(person) == {(403, "AccessDenied")}


def test_a_deleted_user_is_gone_for_every_worker(server: Server) -> None:
    person = new_user(server, allow("s3:*"), name="gone")
    assert answers(person) == {(200, "")}
    command(server, "user", "delete", "gone", "--force")
    command(server, "user", "create", "gone")
    command(server, "user", "policy", "put", "gone", "policy", input=policy(allow("s3:*")))
    assert answers(person) == {(403, "InvalidAccessKeyId")}


def test_no_secret_of_a_user_shows_anywhere(server: Server, tmp_path: Path) -> None:
    """G1, G2: log at debug level, metrics, error documents, lists, doctor, and the files of the store and of a backup."""
    person = new_user(server, allow("s3:GetObject", arn("bucket", "object")), name="canary")
    secret = person.secret
    spoken = [person.send("GET", "/bucket/object").body, person.send("PUT", "/bucket/k", body=b"x").body]
    wrong = new_user(server)
    wrong.access_key_id = person.access_key_id
    spoken.append(wrong.send("GET", "/bucket/object").body)
    command(server, "backup", str(tmp_path / "copy"), "--with-keys")
    said = [
        command(server, "user", "list"),
        command(server, "user", "list", "--json"),
        command(server, "access-key", "list", "--json"),
        command(server, "doctor", "--json"),
        metrics(server),
        server.log.read_text(),
    ]
    assert any(person.access_key_id in each for each in said)
    assert not [each for each in said if secret in each]
    assert not [each for each in spoken if secret.encode() in each]
    for directory in (server.data_dir, tmp_path / "copy"):
        assert not [path for path in directory.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_a_backup_with_keys_has_the_users(server: Server, tmp_path: Path) -> None:
    person = new_user(server, allow("s3:*"))
    command(server, "backup", str(tmp_path / "data"), "--with-keys")
    with running(tmp_path) as restored:
        restored.access_key_id, restored.secret = person.access_key_id, person.secret
        assert restored.send("GET", "/bucket/object").status == 200


def test_a_backup_without_keys_has_the_users_and_not_their_key(server: Server, tmp_path: Path) -> None:
    command(server, "backup", str(tmp_path / "data"))
    files = Paths(tmp_path / "data").identity
    assert files.is_there()
    assert not files.key.exists()


# --- somebody who can write the file; what they damage stays damaged, so these come last


def integrity_errors(server: Server) -> float:
    found = re.findall(r"^strongroom_integrity_errors_total (\S+)$", metrics(server), re.MULTILINE)
    return sum(float(each) for each in found)


def edit(data_dir: Path, sql: str, *params: object) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(Paths(data_dir).identity.database)
    try:
        rows = connection.execute(sql, params).fetchall()
        connection.commit()
    finally:
        connection.close()
    return rows


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE access_keys SET user_id = (SELECT user_id FROM users WHERE name = 'powerful') WHERE access_key_id = ?1",
        "UPDATE users SET sealed = (SELECT sealed FROM users WHERE name = 'powerful') WHERE user_id = (SELECT user_id FROM access_keys WHERE access_key_id = ?1)",
        "UPDATE users SET name = name || 'x' WHERE user_id = (SELECT user_id FROM access_keys WHERE access_key_id = ?1)",
        "DELETE FROM users WHERE user_id = (SELECT user_id FROM access_keys WHERE access_key_id = ?1)",
    ],
)
def test_an_edited_row_denies_is_counted_and_never_grants(server: Server, sql: str) -> None:
    if not with_users(server.data_dir, lambda users: _has(users, "powerful")):
        new_user(server, allow("*"), name="powerful")
    weak, other = new_user(server, allow("s3:GetObject")), new_user(server, allow("s3:GetObject"))
    assert answers(weak) == {(200, "")}
    before = integrity_errors(server)
    edit(server.data_dir, sql, weak.access_key_id)
    assert answers(weak) == {(500, "InternalError")}
    assert integrity_errors(server) == before + REQUESTS
    assert answers(other) == {(200, "")}
    assert server.send("GET", "/bucket/object").status == 200


async def _has(users: Users, name: str) -> bool:
    return any(user.name == name for user in (await users.survey()).users)


def test_an_older_row_does_not_bring_a_right_back(server: Server) -> None:
    person = new_user(server, allow("s3:*"), name="revoked")
    old = edit(server.data_dir, "SELECT revision, sealed FROM users WHERE name = 'revoked'")[0]
    command(server, "user", "policy", "put", "revoked", "no", input=policy(deny("*")))
    assert answers(person) == {(403, "AccessDenied")}
    edit(server.data_dir, "UPDATE users SET revision = ?, sealed = ? WHERE name = 'revoked'", *old)
    assert answers(person) == {(500, "InternalError")}
