"""migrate: from nothing, from older, from newer, from two starts at once."""

import multiprocessing
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from strongroom.database.migrations import SchemaTooNew, migrate, migrations_of, schema_version

FIRST = "-- one; with a semicolon\nCREATE TABLE one (a TEXT DEFAULT ';'); -- and; one here\nCREATE TABLE two (b);\n"
SECOND = "INSERT INTO one (a) VALUES ('x;y');\nALTER TABLE two ADD COLUMN c"


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return schema_version(connection)


def test_the_files_of_the_index_are_numbered_without_a_gap_and_give_its_tables(tmp_path):
    migrations = migrations_of("index")
    assert sorted(migrations) == list(range(1, len(migrations) + 1))
    assert migrate(tmp_path / "index.db", migrations) == len(migrations)
    tables = {name for (name,) in rows(tmp_path / "index.db", "SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert {"schema", "store", "buckets", "object_versions", "uploads", "upload_parts", "blobs"} <= tables
    assert rows(tmp_path / "index.db", "SELECT version FROM schema") == [(len(migrations),)]


def test_each_migration_is_applied_once_and_in_order(tmp_path):
    path = tmp_path / "index.db"
    assert migrate(path, {1: FIRST}) == 1
    assert version(path) == 1
    assert migrate(path, {1: FIRST, 2: SECOND}) == 2
    assert migrate(path, {1: FIRST, 2: SECOND}) == 2
    assert rows(path, "SELECT a FROM one") == [("x;y",)]
    assert rows(path, "SELECT b, c FROM two") == []


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path):
    path = tmp_path / "index.db"
    with pytest.raises(sqlite3.OperationalError):
        migrate(path, {1: FIRST, 2: "CREATE TABLE three (a); CREATE TABLE one (a);"})
    assert version(path) == 1
    assert rows(path, "SELECT 1 FROM sqlite_schema WHERE name = 'three'") == []


def test_a_newer_database_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "index.db"
    migrate(path, {1: FIRST, 2: SECOND})
    before = path.read_bytes(), path.stat().st_mtime_ns
    with pytest.raises(SchemaTooNew, match=r"index\.db has schema 2.* up to 1"):
        migrate(path, {1: FIRST})
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_a_newer_database_that_was_killed_is_refused_with_its_wal_untouched(tmp_path):
    path, wal = tmp_path / "index.db", tmp_path / "index.db-wal"
    migrate(path, {1: FIRST})
    with closing(sqlite3.connect(path, isolation_level=None)) as newer:
        newer.execute("UPDATE schema SET version = 9")
        left = path.read_bytes(), wal.read_bytes()
    path.write_bytes(left[0])
    wal.write_bytes(left[1])
    with pytest.raises(SchemaTooNew):
        migrate(path, {1: FIRST})
    assert (path.read_bytes(), wal.read_bytes()) == left


def test_starts_at_the_same_time_migrate_once(tmp_path):
    """Two applications of FIRST would fail on the table that exists."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        migrations = {1: FIRST, 2: SECOND}
        found = pool.starmap(
            migrate, [(str(tmp_path / f"{turn}.db"), migrations) for turn in range(4) for _ in range(4)]
        )
    assert found == [2] * 16
    assert [rows(tmp_path / f"{turn}.db", "SELECT count(*) FROM one") for turn in range(4)] == [[(1,)]] * 4
