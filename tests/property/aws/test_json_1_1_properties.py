"""botocore writes, we read; we write, botocore reads: every operation, with inputs made from the shapes of the model."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta

import botocore.session
import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.aws.json_1_1 import parse, serialize
from strongroom.aws.kms_errors import KmsError
from strongroom.aws.kms_model import load_kms_model
from strongroom.aws.model import Shape

MODEL = load_kms_model()
BOTOCORE = botocore.session.get_session().get_service_model("kms")
SERIALIZER = create_serializer("json", include_validation=False)
PARSER = create_parser("json")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CHARACTERS = st.characters(codec="utf-8")


def values(shape: Shape, *, in_range: bool = True) -> st.SearchStrategy:
    """Values of a shape; `in_range`: such as its constraints allow."""
    least, most = shape.minimum or 0, shape.maximum
    match shape.type:
        case "structure":
            members = {name: values(each.shape, in_range=in_range) for name, each in shape.members.items()}
            return st.fixed_dictionaries(
                {name: each for name, each in members.items() if name in shape.required},
                optional={name: each for name, each in members.items() if name not in shape.required},
            )
        case "list":
            assert shape.item is not None
            return st.lists(values(shape.item.shape, in_range=in_range), min_size=least, max_size=min(most or 3, 3))
        case "map":
            return st.dictionaries(st.text(CHARACTERS, max_size=8), st.text(CHARACTERS, max_size=8), max_size=3)
        case "string" if shape.enum:
            return st.sampled_from(sorted(shape.enum))
        case "string" if in_range and shape.pattern is not None:
            anchored = shape.pattern if shape.pattern.startswith("^") else f"^({shape.pattern})$"
            whole = re.compile(anchored.replace("$", r"\Z"), re.ASCII)
            return st.from_regex(whole).filter(lambda text: least <= len(text) <= (most or 10**6))
        case "string":
            return st.text(CHARACTERS, min_size=least, max_size=least + 8)
        case "blob":
            return st.binary(min_size=least, max_size=40)
        case "integer":
            return st.integers(least, most)
        case "boolean":
            return st.booleans()
        case "timestamp":
            return st.integers(0, 4 * 10**9).map(lambda seconds: EPOCH + timedelta(seconds=seconds))
    raise AssertionError(shape.type)


relaxed = settings(max_examples=8, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", sorted(MODEL.operations))
@relaxed
@given(data=st.data())
def test_what_botocore_sends_is_what_we_read(name, data):
    operation = MODEL.operations[name]
    assert operation.input is not None
    value = data.draw(values(operation.input))
    request = SERIALIZER.serialize_to_request(value, BOTOCORE.operation_model(name))
    assert request["headers"]["X-Amz-Target"] == f"{MODEL.target_prefix}{name}"
    assert parse(operation, request["body"]) == value


@pytest.mark.parametrize("name", sorted(MODEL.operations))
@relaxed
@given(data=st.data())
def test_what_we_send_is_what_botocore_reads(name, data):
    operation = MODEL.operations[name]
    value = data.draw(values(operation.output, in_range=False)) if operation.output is not None else {}
    answer = {"status_code": 200, "headers": {}, "body": serialize(operation, value)}
    model = BOTOCORE.operation_model(name)
    read = PARSER.parse(answer, model.output_shape)  # type: ignore[arg-type]
    read.pop("ResponseMetadata", None)
    assert read == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("name", sorted(MODEL.operations))
@relaxed
@given(data=st.data())
def test_anything_else_is_a_kms_error(name, data):
    """Members of the right names and any values, or any bytes at all: an input of the model's types, or KmsError."""
    operation = MODEL.operations[name]
    assert operation.input is not None
    document = data.draw(st.dictionaries(st.sampled_from(sorted(operation.input.members) or ["X"]), JSON, max_size=5))
    body = data.draw(st.sampled_from([json.dumps(document).encode(), data.draw(st.binary(max_size=50))]))
    told = None
    try:
        value = parse(operation, body)
    except KmsError as error:
        value, told = {}, error.code
    assert told in (None, "SerializationException", "ValidationException")
    assert value.keys() <= operation.input.members.keys()


@given(content=st.binary(max_size=300))
def test_a_blob_has_exactly_one_text(content):
    body = json.dumps({"KeyId": "k", "Plaintext": base64.b64encode(b"x" + content).decode()}).encode()
    assert parse(MODEL.operations["Encrypt"], body)["Plaintext"] == b"x" + content
