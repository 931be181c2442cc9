"""The index in the hands of somebody who may write to it and has no key.

They may delete, and put back an older row as a whole. Everything else, each clear column of each sealed row changed,
rows moved, sealed parts mixed, must be an integrity error: 500, counted, and never another answer.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from strongroom.server.paths import StartError
from tests.harness import Reply, customer_key_headers
from tests.security.inprocess import Store, integrity_errors, opened

MIB = 1024 * 1024
C3 = customer_key_headers(bytes(range(32)))
VERSIONING = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
BLOCK = b"<ServerSideEncryptionConfiguration><Rule><BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes></Rule></ServerSideEncryptionConfiguration>"


@dataclass(frozen=True)
class Made:
    """An open store: bucket `one-bucket` with the objects `object`, `other`, `sealed` (SSE-C) and `parts`, and an open
    upload of `pending`; bucket `two-bucket` with `object`. `pristine`: a copy of its index. `older`: one from before the
    tags of `object` were changed and `one-bucket` was set to block SSE-C.
    """

    store: Store
    pristine: Path
    older: Path
    upload: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    directory = tmp_path_factory.mktemp("tampering")
    with opened(directory / "data") as store:

        def ok(*arguments: str, **more) -> Reply:
            reply = store.send(*arguments, **more)
            assert reply.status in (200, 204), reply
            return reply

        for bucket in ("one", "two"):
            ok("PUT", f"/{bucket}-bucket")
            ok("PUT", f"/{bucket}-bucket/object", body=b"content")
        ok("PUT", "/one-bucket/other", body=b"other")
        ok("PUT", "/one-bucket/sealed", headers=C3, body=b"sealed")
        completed = ok("POST", "/one-bucket/parts?uploads").element("UploadId")
        listed = ""
        for number, body in ((1, bytes(5 * MIB)), (2, b"end")):
            etag = ok("PUT", f"/one-bucket/parts?partNumber={number}&uploadId={completed}", body=body).headers["etag"]
            listed += f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        document = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        ok("POST", f"/one-bucket/parts?uploadId={completed}", body=document)
        upload = ok("POST", "/one-bucket/pending?uploads").element("UploadId")
        for number in (1, 2):
            ok("PUT", f"/one-bucket/pending?partNumber={number}&uploadId={upload}", body=b"part")
        older = saved(store, directory / "older.db")
        ok("PUT", "/one-bucket/object?tagging", body=b"<Tagging><TagSet/></Tagging>")
        ok("PUT", "/one-bucket?encryption", body=BLOCK)
    with connected(directory / "data" / "s3" / "index.db") as index:  # whoever may write may drop constraints too
        index.execute("PRAGMA writable_schema = ON")
        index.execute("UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '') WHERE type = 'table'")
    with opened(directory / "data") as store:
        yield Made(store, saved(store, directory / "pristine.db"), older, upload)


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def saved(store: Store, path: Path) -> Path:
    with connected(store.index) as index, connected(path) as copy:
        index.backup(copy)
    return path


TABLES = ("store", "buckets", "bucket_secrets", "object_versions", "object_parts", "uploads", "upload_parts", "blobs")


@pytest.fixture
def index(made: Made) -> Iterator[sqlite3.Connection]:
    """The index of the running store, which is put back after the test."""
    with connected(made.store.index) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("ATTACH ? AS pristine", (str(made.pristine),))
        yield connection
        connection.execute("BEGIN IMMEDIATE")
        for table in TABLES:
            connection.execute(f"DELETE FROM main.{table}")
            connection.execute(f"INSERT INTO main.{table} SELECT * FROM pristine.{table}")
        connection.execute("COMMIT")


@pytest.fixture
def store(made: Made) -> Store:
    return made.store


def tamper(index: sqlite3.Connection, *statements: str) -> None:
    """Run `statements`, each of which must change something."""
    for statement in statements:
        assert index.execute(statement).rowcount > 0, statement


def refuse(store: Store, *requests: tuple[str, str] | tuple[str, str, dict[str, str]]) -> None:
    """Each request finds the damage, and says no more than that there is some."""
    for method, target, *headers in requests:
        before = integrity_errors()
        reply = store.send(method, target, headers=headers[0] if headers else {})
        assert reply.status == 500, (method, target, reply)
        assert reply.code == ("" if method == "HEAD" else "InternalError")
        assert integrity_errors() == before + 1, (method, target)


# --- one column of one row

Requests = list[tuple[str, str] | tuple[str, str, dict[str, str]]]

OF_BUCKET: Requests = [
    ("GET", "/one-bucket"),
    ("HEAD", "/one-bucket"),
    ("GET", "/one-bucket/object"),
    ("PUT", "/one-bucket/new"),
    ("DELETE", "/one-bucket/object"),
    ("GET", "/one-bucket?versioning"),
    ("GET", "/"),
]
OF_VERSION: Requests = [
    ("GET", "/one-bucket/object"),
    ("HEAD", "/one-bucket/object"),
    ("PUT", "/one-bucket/object"),
    ("DELETE", "/one-bucket/object"),
    ("GET", "/one-bucket/object?tagging"),
    ("GET", "/one-bucket/object?versionId=null"),
    ("GET", "/one-bucket?list-type=2"),
    ("GET", "/one-bucket"),
    ("GET", "/one-bucket?versions"),
    ("PUT", "/one-bucket/copy", {"x-amz-copy-source": "/one-bucket/object"}),
]
OF_PAGE: Requests = [("GET", "/one-bucket/parts"), ("GET", "/one-bucket/parts?partNumber=2")]
OF_UPLOAD: Requests = [
    ("GET", "/one-bucket/pending?uploadId=UPLOAD"),
    ("PUT", "/one-bucket/pending?partNumber=3&uploadId=UPLOAD"),
    ("DELETE", "/one-bucket/pending?uploadId=UPLOAD"),
    ("GET", "/one-bucket?uploads"),
]
OF_PART: Requests = [
    ("GET", "/one-bucket/pending?uploadId=UPLOAD"),
    ("PUT", "/one-bucket/pending?partNumber=1&uploadId=UPLOAD"),
]


@dataclass(frozen=True)
class Row:
    """`where` picks one row of `table`; `requests` are those that read it. `others`: of its key columns, with requests
    that look for the row under the changed value.
    """

    table: str
    where: str
    requests: Requests
    columns: tuple[str, ...]


ONE = "bucket_id = (SELECT bucket_id FROM buckets WHERE name = 'one-bucket')"
OBJECT_ID = "object_id = (SELECT object_id FROM uploads WHERE key = 'pending')"
ROWS = [
    Row("buckets", "name = 'one-bucket'", OF_BUCKET, ("created_us", "secret_version", "revision")),
    Row("bucket_secrets", ONE, OF_BUCKET, ("version", "store_key_id")),
    Row(
        "object_versions",
        f"{ONE} AND key = 'object'",
        OF_VERSION,
        (
            *("sequence", "object_id", "kind", "size", "last_modified_us", "mode", "format", "key_arn", "material_id"),
            *("bucket_key_id", "secret_version", "retain_until_us", "lock_mode", "legal_hold", "revision"),
        ),
    ),
    Row("object_parts", ONE, OF_PAGE, ("secret_version", "revision")),
    Row(
        "uploads",
        f"{ONE} AND key = 'pending'",
        OF_UPLOAD,
        (
            *("object_id", "initiated_us", "state", "finished_us", "mode", "key_arn", "material_id"),
            *("bucket_key_id", "secret_version", "revision"),
        ),
    ),
    Row(
        "upload_parts",
        f"{OBJECT_ID} AND part_number = 1",
        OF_PART,
        ("size", "modified_us", "secret_version", "revision"),
    ),
]
# What a column may be made; each is another value of another kind for at least some columns.
BLOBS = {"store_key_id", "object_id", "material_id", "bucket_key_id"}
TEXTS = {"key_arn", "version_id", "key", "name", "upload_id"}


def changes(column: str) -> dict[str, str]:
    """Expressions for SQL's SET."""
    wrong = {"text": "'text'", "float": "0.5", "negative": "-1", "huge": "9223372036854775807", "blob": "x'0102'"}
    if column in BLOBS:
        return {"other": "randomblob(16)", "short": "x'01'", "empty": "x''", **wrong} | (
            {} if column == "object_id" or column == "store_key_id" else {"set": "zeroblob(16)"}
        )
    if column in TEXTS:
        return {"other": "'other'", **{name: value for name, value in wrong.items() if name != "text"}}
    return {"one-more": f"coalesce({column}, 0) + 1", **wrong}


CASES = [
    pytest.param(row, column, value, id=f"{row.table}.{column}-{name}")
    for row in ROWS
    for column in row.columns
    for name, value in changes(column).items()
    if not (column in ("material_id", "bucket_key_id") and name == "empty")  # NULL is the empty field
]


def with_upload(requests: Requests, upload: str) -> Requests:
    return [(method, target.replace("UPLOAD", upload), *rest) for method, target, *rest in requests]  # type: ignore[misc]


@pytest.mark.parametrize(("row", "column", "value"), CASES)
def test_a_changed_clear_column_is_an_integrity_error(
    made: Made, store: Store, index: sqlite3.Connection, row: Row, column: str, value: str
) -> None:
    tamper(index, f"UPDATE {row.table} SET {column} = {value} WHERE {row.where}")
    refuse(store, *with_upload(row.requests, made.upload))
    assert store.send("GET", "/two-bucket/object").body == b"content"


NOT_NULL = [
    pytest.param(row, column, id=f"{row.table}.{column}")
    for row in ROWS
    for column in (*row.columns, "sealed")
    if column not in ("key_arn", "material_id", "bucket_key_id", "retain_until_us", "finished_us")
]


@pytest.mark.parametrize(("row", "column"), NOT_NULL)
def test_a_column_made_null_is_an_integrity_error(
    made: Made, store: Store, index: sqlite3.Connection, row: Row, column: str
) -> None:
    tamper(index, f"UPDATE {row.table} SET {column} = NULL WHERE {row.where}")
    refuse(store, *with_upload(row.requests, made.upload))


SEALED = {
    "flipped-format": "x'00' || substr(sealed, 2)",
    "flipped-version": "substr(sealed, 1, 4) || x'07' || substr(sealed, 6)",
    "cut": "substr(sealed, 1, length(sealed) - 1)",
    "longer": "sealed || x'00'",
    "short": "substr(sealed, 1, 5)",
    "empty": "x''",
    "zeros": "zeroblob(length(sealed))",
    "random": "randomblob(length(sealed))",
    "text": "'sealed'",
    "number": "1",
}


@pytest.mark.parametrize("value", SEALED.values(), ids=SEALED.keys())
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.table)
def test_a_changed_sealed_part_is_an_integrity_error(
    made: Made, store: Store, index: sqlite3.Connection, row: Row, value: str
) -> None:
    if "||" in value or "substr" in value:
        value = f"CAST({value} AS BLOB)"
    tamper(index, f"UPDATE {row.table} SET sealed = {value} WHERE {row.where}")
    refuse(store, *with_upload(row.requests, made.upload))


# --- columns of the primary key: the row is gone where it was (a deletion), and an error where it went


@pytest.mark.parametrize("value", ["'renamed'", "CAST('object' AS BLOB)", "x'ff'"])
def test_a_renamed_object_is_no_object(store: Store, index: sqlite3.Connection, value: str) -> None:
    tamper(index, f"UPDATE object_versions SET key = {value} WHERE {ONE} AND key = 'object'")
    assert store.send("GET", "/one-bucket/object").status == 404
    refuse(store, ("GET", "/one-bucket?list-type=2"), ("GET", "/one-bucket?versions"))
    if value == "'renamed'":
        refuse(store, ("GET", "/one-bucket/renamed"), ("DELETE", "/one-bucket/renamed"), ("PUT", "/one-bucket/renamed"))


def test_a_renamed_version_is_no_version(store: Store, index: sqlite3.Connection) -> None:
    other = "f" * 32  # what an id looks like
    tamper(index, f"UPDATE object_versions SET version_id = '{other}' WHERE {ONE} AND key = 'object'")
    refuse(store, ("GET", "/one-bucket/object"), ("GET", f"/one-bucket/object?versionId={other}"))
    assert store.send("GET", "/one-bucket/object?versionId=null").status == 404


@pytest.mark.parametrize("value", ["'renamed-bucket'", "CAST('renamed-bucket' AS BLOB)"])
def test_a_renamed_bucket_is_no_bucket(store: Store, index: sqlite3.Connection, value: str) -> None:
    tamper(index, f"UPDATE buckets SET name = {value} WHERE name = 'one-bucket'")
    assert store.send("GET", "/one-bucket").status == 404
    refuse(store, ("GET", "/"))
    if value.startswith("'"):
        refuse(store, ("GET", "/renamed-bucket"), ("PUT", "/renamed-bucket/new"), ("DELETE", "/renamed-bucket"))


def test_a_bucket_with_another_id_is_no_bucket(store: Store, index: sqlite3.Connection) -> None:
    tamper(index, "UPDATE buckets SET bucket_id = randomblob(16) WHERE name = 'one-bucket'")
    refuse(store, *OF_BUCKET)


@pytest.mark.parametrize("value", ["'sixteen-letters!'", "16", "x'00'"])
def test_a_bucket_with_another_id_in_every_table_is_no_bucket(
    store: Store, index: sqlite3.Connection, value: str
) -> None:
    tamper(
        index,
        *(f"UPDATE {table} SET bucket_id = {value} WHERE {ONE}" for table in ("object_versions", "bucket_secrets")),
        f"UPDATE buckets SET bucket_id = {value} WHERE name = 'one-bucket'",
    )
    refuse(store, *OF_BUCKET)


@pytest.mark.parametrize("column", ["key", "upload_id"])
def test_a_renamed_upload_is_no_upload(made: Made, store: Store, index: sqlite3.Connection, column: str) -> None:
    tamper(index, f"UPDATE uploads SET {column} = 'other' WHERE {ONE} AND key = 'pending'")
    key, upload = ("other", made.upload) if column == "key" else ("pending", "other")
    assert store.send("GET", f"/one-bucket/pending?uploadId={made.upload}").status == 404
    refuse(
        store,
        ("GET", "/one-bucket?uploads"),
        ("GET", f"/one-bucket/{key}?uploadId={upload}"),
        ("PUT", f"/one-bucket/{key}?partNumber=1&uploadId={upload}"),
        ("DELETE", f"/one-bucket/{key}?uploadId={upload}"),
    )


def test_a_renumbered_part_is_no_part(made: Made, store: Store, index: sqlite3.Connection) -> None:
    tamper(index, f"UPDATE upload_parts SET part_number = 3 WHERE {OBJECT_ID} AND part_number = 1")
    refuse(store, ("GET", f"/one-bucket/pending?uploadId={made.upload}"))


def test_a_renumbered_page_is_no_page(store: Store, index: sqlite3.Connection) -> None:
    tamper(index, "UPDATE object_parts SET page = 1")
    refuse(store, *OF_PAGE)


def test_a_missing_page_is_an_integrity_error(store: Store, index: sqlite3.Connection) -> None:
    tamper(index, "DELETE FROM object_parts")
    refuse(store, *OF_PAGE)


def test_a_missing_secret_is_an_integrity_error(store: Store, index: sqlite3.Connection) -> None:
    tamper(index, f"DELETE FROM bucket_secrets WHERE {ONE}")
    refuse(store, *OF_BUCKET)


# --- whole rows and sealed parts that are genuine, in another place


def swap(index: sqlite3.Connection, table: str, column: str, first: str, second: str) -> None:
    """Exchange one column of two rows."""
    places = (first, second)
    one, two = (index.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone() for where in places)
    for where, value in zip(places, (two, one), strict=True):
        assert index.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", value).rowcount == 1


def test_sealed_parts_of_two_objects_do_not_change_places(store: Store, index: sqlite3.Connection) -> None:
    swap(index, "object_versions", "sealed", f"{ONE} AND key = 'object'", f"{ONE} AND key = 'other'")
    refuse(store, *OF_VERSION, ("GET", "/one-bucket/other"))


@pytest.mark.parametrize("other", ["other", "sealed"])
def test_two_objects_do_not_change_names(store: Store, index: sqlite3.Connection, other: str) -> None:
    """A row as a whole under another key, its clear columns and its sealed part being genuine."""
    tamper(
        index,
        f"UPDATE object_versions SET key = 'aside' WHERE {ONE} AND key = 'object'",
        f"UPDATE object_versions SET key = 'object' WHERE {ONE} AND key = '{other}'",
        f"UPDATE object_versions SET key = '{other}' WHERE {ONE} AND key = 'aside'",
    )
    refuse(store, *OF_VERSION, ("GET", f"/one-bucket/{other}"), ("GET", "/one-bucket/object", C3))


def test_an_object_does_not_move_into_another_bucket(store: Store, index: sqlite3.Connection) -> None:
    two = "(SELECT bucket_id FROM buckets WHERE name = 'two-bucket')"
    tamper(index, f"UPDATE object_versions SET bucket_id = {two} WHERE {ONE} AND key = 'other'")
    assert store.send("GET", "/one-bucket/other").status == 404
    refuse(store, ("GET", "/two-bucket/other"), ("GET", "/two-bucket?list-type=2"))


def test_two_buckets_do_not_change_their_settings(store: Store, index: sqlite3.Connection) -> None:
    swap(index, "buckets", "sealed", "name = 'one-bucket'", "name = 'two-bucket'")
    refuse(store, *OF_BUCKET, ("GET", "/two-bucket/object"))


def test_two_buckets_do_not_change_their_names(store: Store, index: sqlite3.Connection) -> None:
    tamper(
        index,
        "UPDATE buckets SET name = 'aside' WHERE name = 'one-bucket'",
        "UPDATE buckets SET name = 'one-bucket' WHERE name = 'two-bucket'",
        "UPDATE buckets SET name = 'two-bucket' WHERE name = 'aside'",
    )
    refuse(store, *OF_BUCKET, ("GET", "/two-bucket/object"))


def test_two_buckets_do_not_change_their_secrets(store: Store, index: sqlite3.Connection) -> None:
    two = "bucket_id = (SELECT bucket_id FROM buckets WHERE name = 'two-bucket')"
    swap(index, "bucket_secrets", "sealed", ONE, two)
    refuse(store, *OF_BUCKET, ("GET", "/two-bucket/object"))


def test_two_parts_do_not_change_places(made: Made, store: Store, index: sqlite3.Connection) -> None:
    first, second = (f"{OBJECT_ID} AND part_number = {number}" for number in (1, 2))
    swap(index, "upload_parts", "sealed", first, second)
    refuse(store, *with_upload(OF_PART, made.upload))


def test_a_part_does_not_move_into_another_object(made: Made, store: Store, index: sqlite3.Connection) -> None:
    tamper(
        index,
        "UPDATE upload_parts SET object_id = randomblob(16) WHERE part_number = 2",
        f"UPDATE uploads SET object_id = (SELECT object_id FROM upload_parts WHERE part_number = 2) WHERE {ONE} AND key = 'pending'",
    )
    refuse(store, *with_upload(OF_UPLOAD, made.upload))


# --- older rows


def replay(made: Made, index: sqlite3.Connection, table: str, where: str, columns: str) -> None:
    """Put older values of `columns` into the row."""
    read = f"SELECT {columns} FROM {table} WHERE {where}"
    with connected(made.older) as older:
        values = older.execute(read).fetchone()
    assert index.execute(read).fetchone() != values
    marks = ", ".join(f"{column} = ?" for column in columns.split(", "))
    assert index.execute(f"UPDATE {table} SET {marks} WHERE {where}", values).rowcount == 1


@pytest.mark.parametrize(
    ("table", "where", "requests"),
    [("object_versions", f"{ONE} AND key = 'object'", OF_VERSION), ("buckets", "name = 'one-bucket'", OF_BUCKET)],
    ids=["object_versions", "buckets"],
)
@pytest.mark.parametrize("columns", ["sealed", "revision"])
def test_an_older_sealed_part_under_newer_columns_is_an_integrity_error(
    made: Made, store: Store, index: sqlite3.Connection, table: str, where: str, requests: Requests, columns: str
) -> None:
    replay(made, index, table, where, columns)
    refuse(store, *requests)


def test_an_older_row_as_a_whole_is_what_a_writer_of_the_index_can_bring_back(
    made: Made, store: Store, index: sqlite3.Connection
) -> None:
    """The limit that docs/threat-model.md names: this test is to fail on the day that it no longer holds."""
    replay(made, index, "buckets", "name = 'one-bucket'", "revision, sealed")
    assert b"<EncryptionType>SSE-C" not in store.send("GET", "/one-bucket?encryption").body


# --- the table of the store, which no key seals


def test_another_store_id_opens_no_bucket(made: Made, index: sqlite3.Connection) -> None:
    for value in ("randomblob(16)", "x''"):
        tamper(index, f"UPDATE store SET value = {value} WHERE name = 'store_id'")
        with opened(made.store.data_dir) as store:
            refuse(store, *OF_BUCKET)


@pytest.mark.parametrize("name", ["store_id", "primary_store_key_id"])
def test_an_id_of_another_type_is_told_at_the_start(made: Made, index: sqlite3.Connection, name: str) -> None:
    for value in ("'sixteen-letters!'", "1", "NULL"):
        tamper(index, f"UPDATE store SET value = {value} WHERE name = '{name}'")
        with pytest.raises(StartError, match="cannot have been written"), opened(made.store.data_dir):
            pass


def test_another_primary_key_is_never_used_to_seal(store: Store, index: sqlite3.Connection) -> None:
    for value in ("randomblob(16)", "x''", "'sixteen-letters!'", "1"):
        tamper(index, f"UPDATE store SET value = {value} WHERE name = 'primary_store_key_id'")
        reply = store.send("PUT", "/new-bucket")
        assert (reply.status, reply.code) == (500, "InternalError")
        assert store.send("GET", "/one-bucket/other").body == b"other"
        assert store.send("HEAD", "/new-bucket").status == 404
