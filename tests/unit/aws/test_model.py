"""The corrected model: complete, and corrected in no place where the official model already says so."""

import pytest
from botocore.loaders import Loader

from strongroom.aws.model import CORRECTIONS, load_s3_model

MODEL = load_s3_model()
OFFICIAL = Loader().load_service_model("s3", "service-2")


def operation_of(name):
    return MODEL.operations[name]


def test_model__holds_every_operation_of_the_official_one():
    assert list(MODEL.operations) == sorted(OFFICIAL["operations"])
    assert len(MODEL.operations) >= 116


@pytest.mark.parametrize("correction", CORRECTIONS, ids=lambda each: "/".join(each.path))
def test_corrections__each_changes_something_and_says_why(correction):
    node = OFFICIAL
    for name in correction.path[:-1]:
        node = node[name]
    assert node.get(correction.path[-1]) != correction.value
    assert correction.reason


def test_model__put_object():
    operation = operation_of("PutObject")
    assert (operation.method, operation.path, operation.query) == ("PUT", "/{Bucket}/{Key+}", ())
    assert operation.status == 200
    assert operation.input.payload == "Body"
    assert operation.input.members["IfNoneMatch"].wire_name == "If-None-Match"
    assert operation.output.members["VersionId"].location == "header"
    assert "EncryptionTypeMismatch" in operation.errors


def test_model__literal_and_required_query_and_headers():
    assert MODEL.operations["SelectObjectContent"].query == (("select", ""), ("select-type", "2"))
    assert MODEL.operations["UploadPartCopy"].required_query == {"partNumber", "uploadId"}
    assert MODEL.operations["UploadPartCopy"].required_headers == {"x-amz-copy-source"}


def test_model__an_unknown_region_is_not_malformed_xml():
    shape = operation_of("CreateBucket").input.members["CreateBucketConfiguration"].shape
    assert not shape.members["LocationConstraint"].shape.enum


def test_model__post_object_is_beside_the_official_operations():
    assert MODEL.post_object.name == "PostObject"
    assert MODEL.post_object.input is MODEL.operations["PutObject"].input
    assert "PostObject" not in MODEL.operations


def test_model__is_loaded_once_and_short_in_a_log():
    assert load_s3_model() is MODEL
    assert len(repr(MODEL.operations["PutObject"])) < 400
