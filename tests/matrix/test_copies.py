"""Copies across every pair of encryptions, to another key of the kind, and onto itself under the source's."""

import secrets
from dataclasses import replace

import pytest

from tests.harness import Server, new_key
from tests.matrix.test_encryption_matrix import DATA, check_whole
from tests.matrix.verbs import MODES, Mode, copied_from, copy, place


def under_another_key(server: Server, mode: Mode) -> Mode:
    if mode.kms_key is not None:
        return replace(mode, kms_key=new_key(server.kms()))
    return mode if mode.key is None else Mode(secrets.token_bytes(32))


@pytest.mark.parametrize("source", MODES)
def test_a_copy_is_read_as_what_it_is_copied_to(
    server: Server, bucket: str, modes: dict[str, Mode], source: str, mode: Mode
) -> None:
    stored = copied_from(modes[source])(server, bucket, "copy", DATA[:100_001], under_another_key(server, mode))
    check_whole(server, place(bucket, "copy"), stored, tls=False)
    replaced = {"x-amz-metadata-directive": "REPLACE"}  # for what names no other encryption than it has
    onto_itself = copy(server, bucket, "copy", place(bucket, "copy"), stored, modes[source], headers=replaced)
    check_whole(server, place(bucket, "copy"), onto_itself, tls=False)
    assert (onto_itself.etag == stored.etag) == (stored.mode.shows_md5 and onto_itself.mode.shows_md5)
