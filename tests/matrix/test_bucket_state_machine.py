"""Property: a bucket behaves as a dictionary of lists would, whatever is done to it in whatever order.

The model is the words of the S3 User Guide on versioning: a key has versions, newest last; a bucket that never had
versioning, or has it suspended, writes the version "null" in place of the one it had; a delete without a version id
hides, a delete with one removes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.harness import Server, unique_bucket

NULL = "null"


@dataclass
class Version:
    version_id: str
    body: bytes | None  # None: a delete marker


@dataclass
class Model:
    """`versions`: of each key, the newest last; a key without any is not in it. `status`: of the versioning."""

    versions: dict[str, list[Version]] = field(default_factory=dict)
    status: str = ""

    def write(self, key: str, version_id: str, body: bytes | None) -> None:
        kept = [each for each in self.versions.get(key, []) if version_id != NULL or each.version_id != NULL]
        self.versions[key] = [*kept, Version(version_id, body)]

    def remove(self, key: str, version_id: str) -> None:
        kept = [each for each in self.versions.get(key, []) if each.version_id != version_id]
        self.versions.pop(key, None)
        if kept:
            self.versions[key] = kept

    def current(self, key: str) -> Version | None:
        newest = self.versions.get(key, [])[-1:]
        return newest[0] if newest and newest[0].body is not None else None

    def objects(self) -> list[str]:
        return sorted(key for key in self.versions if self.current(key))


# Separators, what URLs and XML escape, characters on both sides of the surrogates (where UTF-16 sorts otherwise).
# No dots: the library that boto3 sends with rewrites them; tests over raw sockets have them.
characters = st.sampled_from("ab/ +%&<\n\x01é\ud7ff\uffff😀")
keys = st.text(characters, min_size=1, max_size=4)
bodies = st.binary(max_size=20)
prefixes = st.text(characters, max_size=2)


class Bucket(RuleBasedStateMachine):
    """Against one server; every run has a bucket of its own."""

    s3: Any
    bucket: str

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.known: list[str] = []
        self.gone: list[str] = []

    @initialize()
    def create(self) -> None:
        self.bucket = unique_bucket()
        self.s3.create_bucket(Bucket=self.bucket)

    def one_of_the_keys(self, data: st.DataObject) -> str:
        """Often one that was there before, so that versions pile up."""
        known = [*self.known[-4:], *sorted(self.model.versions)[:4]]
        key: str = data.draw(st.one_of(st.sampled_from(known), keys) if known else keys, "key")
        self.known.append(key)
        return key

    # --- what changes

    @rule(data=st.data(), body=bodies)
    def put(self, data: st.DataObject, body: bytes) -> None:
        key = self.one_of_the_keys(data)
        reply = self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)
        self.model.write(key, self.new_version_id(reply, tells_null=False), body)

    @rule(data=st.data())
    def copy(self, data: st.DataObject) -> None:
        source, key = self.one_of_the_keys(data), self.one_of_the_keys(data)
        given = {"CopySource": {"Bucket": self.bucket, "Key": source}, "MetadataDirective": "REPLACE"}
        current = self.model.current(source)
        if current is None:
            assert refusal(self.s3.copy_object, Bucket=self.bucket, Key=key, **given) == 404
            return
        reply = self.s3.copy_object(Bucket=self.bucket, Key=key, **given)
        self.model.write(key, self.new_version_id(reply), current.body)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        key = self.one_of_the_keys(data)
        reply = self.s3.delete_object(Bucket=self.bucket, Key=key)
        self.deleted(key, reply)

    @rule(data=st.data())
    def delete_several(self, data: st.DataObject) -> None:
        # XML has no way to name the others.
        wanted = {self.one_of_the_keys(data) for _ in range(3)}
        wanted = {key for key in wanted if not {"\x01", "\uffff"} & set(key)}
        if wanted:
            named = [{"Key": key} for key in sorted(wanted)]
            reply = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": named})
            assert {each["Key"] for each in reply["Deleted"]} == wanted
            for each in reply["Deleted"]:
                self.deleted(each["Key"], {**each, "VersionId": each.get("DeleteMarkerVersionId")})

    def deleted(self, key: str, reply: Any) -> None:
        if self.model.status:
            assert reply["DeleteMarker"] is True
            self.model.write(key, self.new_version_id(reply), None)
        else:
            assert "DeleteMarker" not in reply
            self.model.remove(key, NULL)

    @precondition(lambda self: self.model.versions)
    @rule(data=st.data())
    def delete_version(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.versions)), "key")
        version = data.draw(st.sampled_from(self.model.versions[key]), "version")
        reply = self.s3.delete_object(Bucket=self.bucket, Key=key, VersionId=version.version_id)
        assert reply.get("DeleteMarker", False) is (version.body is None)
        self.model.remove(key, version.version_id)
        if version.version_id != NULL:
            self.gone.append(version.version_id)

    @rule(status=st.sampled_from(["Enabled", "Suspended"]))
    def set_versioning(self, status: str) -> None:
        self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": status})
        self.model.status = status

    def new_version_id(self, reply: Any, *, tells_null: bool = True) -> str:
        """The version id of a write. Where versioning is suspended it is null, which PutObject does not tell."""
        version_id = reply.get("VersionId")
        if self.model.status == "Enabled":
            assert version_id not in (None, NULL)
            assert all(version_id != each.version_id for every in self.model.versions.values() for each in every)
            return str(version_id)
        assert version_id == (NULL if self.model.status and tells_null else None)
        return NULL

    # --- what tells

    @rule(data=st.data())
    def get(self, data: st.DataObject) -> None:
        key = self.one_of_the_keys(data)
        current = self.model.current(key)
        if current is None:
            assert refusal(self.s3.get_object, Bucket=self.bucket, Key=key) == 404
            assert refusal(self.s3.head_object, Bucket=self.bucket, Key=key) == 404
            return
        reply = self.s3.get_object(Bucket=self.bucket, Key=key)
        assert reply["Body"].read() == current.body
        assert reply.get("VersionId") == (current.version_id if self.model.status else None)

    @precondition(lambda self: self.model.versions)
    @rule(data=st.data())
    def get_version(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.versions)), "key")
        version = data.draw(st.sampled_from(self.model.versions[key]), "version")
        named = {"Bucket": self.bucket, "Key": key, "VersionId": version.version_id}
        if version.body is None:
            assert refusal(self.s3.get_object, **named) == 405
        else:
            assert self.s3.get_object(**named)["Body"].read() == version.body
        for version_id in self.absent(key):
            assert refusal(self.s3.get_object, **{**named, "VersionId": version_id}) == 404

    def absent(self, key: str) -> set[str]:
        """Version ids that `key` has not: its own that are gone, other keys', and the null version's."""
        known = {each.version_id for versions in self.model.versions.values() for each in versions}
        return {NULL, *sorted(known)[:2], *self.gone[-2:]} - {each.version_id for each in self.model.versions[key]}

    @rule(prefix=prefixes, page=st.integers(1, 5))
    def list_objects(self, prefix: str, page: int) -> None:
        expected = [key for key in self.model.objects() if key.startswith(prefix)]
        pages = list(self.paginate("list_objects_v2", prefix, page))
        assert [each["Key"] for reply in pages for each in reply.get("Contents", [])] == expected
        assert all(reply["KeyCount"] <= page for reply in pages)
        first = list(self.paginate("list_objects", prefix, page))
        assert [each["Key"] for reply in first for each in reply.get("Contents", [])] == expected

    @rule(prefix=prefixes, page=st.integers(1, 5))
    def list_with_delimiter(self, prefix: str, page: int) -> None:
        expected = folded(self.model.objects(), prefix)
        for operation in ("list_objects_v2", "list_objects"):
            pages = list(self.paginate(operation, prefix, page, Delimiter="/"))
            found = [each["Key"] for reply in pages for each in reply.get("Contents", [])]
            under = [each["Prefix"] for reply in pages for each in reply.get("CommonPrefixes", [])]
            assert (found, under) == expected

    @rule(prefix=prefixes, page=st.integers(1, 5))
    def list_versions(self, prefix: str, page: int) -> None:
        pages = list(self.paginate("list_object_versions", prefix, page))
        shown = [
            (each["Key"], each["VersionId"], each["IsLatest"], kind)
            for kind in ("Versions", "DeleteMarkers")
            for reply in pages
            for each in reply.get(kind, [])
        ]
        expected = [
            (key, version.version_id, version is versions[-1], kind)
            for kind in ("Versions", "DeleteMarkers")
            for key, versions in sorted(self.model.versions.items())
            for version in reversed(versions)
            if key.startswith(prefix) and (version.body is None) == (kind == "DeleteMarkers")
        ]
        assert shown == expected
        assert all(len(reply.get("Versions", [])) + len(reply.get("DeleteMarkers", [])) <= page for reply in pages)

    def paginate(self, operation: str, prefix: str, page: int, **given: Any) -> Iterable[Any]:
        paginator = self.s3.get_paginator(operation)
        config = {"PageSize": page}
        yield from paginator.paginate(Bucket=self.bucket, Prefix=prefix, PaginationConfig=config, **given)

    def teardown(self) -> None:
        """Every object at the end, and then nothing: an empty bucket goes, another one does not."""
        if not hasattr(self, "bucket"):
            return
        for key in self.model.objects():
            current = self.model.current(key)
            assert current is not None
            assert self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read() == current.body
        self.list_versions("", 3)
        if self.model.versions:
            assert refusal(self.s3.delete_bucket, Bucket=self.bucket) == 409
        for key, versions in self.model.versions.items():
            for version in versions:
                self.s3.delete_object(Bucket=self.bucket, Key=key, VersionId=version.version_id)
        self.s3.delete_bucket(Bucket=self.bucket)


def refusal(call: Callable[..., Any], **given: Any) -> int:
    with pytest.raises(ClientError) as caught:
        call(**given)
    status: int = caught.value.response["ResponseMetadata"]["HTTPStatusCode"]
    return status


def folded(present: list[str], prefix: str) -> tuple[list[str], list[str]]:
    """The keys with `prefix` up to the next slash: those that end before it, and what the others have in common."""
    found, under = [], []
    for key in (each for each in present if each.startswith(prefix)):
        rest, slash, _ = key[len(prefix) :].partition("/")
        if not slash:
            found.append(key)
        elif prefix + rest + slash not in under:
            under.append(prefix + rest + slash)
    return found, under


def test_a_bucket_is_a_dictionary_of_versions(server: Server) -> None:
    s3 = server.s3()

    class Against(Bucket):
        pass

    Against.s3 = s3
    run_state_machine_as_test(
        Against,
        settings=settings(
            max_examples=30,
            stateful_step_count=40,
            deadline=None,
            # Shrinking takes minutes against a server, and forty steps can be read.
            phases=[Phase.reuse, Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
