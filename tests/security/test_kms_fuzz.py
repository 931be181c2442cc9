"""I5 and F7 for the key service: whatever arrives, the answer is never a 500, and never none.

Requests are put together from the shapes of the official model and from values that have broken servers before. They are
well signed by the root user, so that they get as far as a request can get. The admin socket gets what nobody would send.
"""

import base64
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.aws.kms_model import load_kms_model
from strongroom.aws.model import Shape
from strongroom.kms.operations import RULES
from strongroom.kms.slots import KEY_FILE
from tests.harness import Reply, Server, read_reply, running
from tests.json_serving import CONTENT_TYPE, head, signed
from tests.key_service import ACCOUNT, REGION, KeyServer

MODEL = load_kms_model()
SLOW = frozenset({"RSA_3072", "RSA_4096"})  # what is slow to make teaches nothing that RSA_2048 does not
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    10**400,
    1.5,
    1e308,
    "",
    " ",
    "a",
    "null",
    "*",
    "\0",
    "\n",
    "\udcff",
    "ü" * 300,
    "\N{PILE OF POO}",
    "a" * 9000,
    "../" * 30,
    "${aws:username}",
    "{}",
    "[" * 2000,
    "AAAA",
    "AA=A",
    base64.b64encode(bytes(32)).decode(),
    base64.b64encode(bytes(range(256)) * 16).decode(),
    [],
    [[]],
    [None],
    {},
    {"": ""},
    {"a": None},
    {"a": {"b": []}},
]
POLICIES = [
    '{"Version":"2012-10-17","Statement":[]}',
    '{"Statement":{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}}',
    '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":{"AWS":"*"},"NotAction":"x"}]}',
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["1"]},"Action":[],"Resource":{}}]}',
    "[" * 30_000,
    '{"a":' * 5000,
]


def names(keys: Mapping[str, str]) -> list[str]:
    arns = [f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key_id}" for key_id in keys.values()]
    return [
        *keys.values(),
        *arns,
        "alias/fuzz",
        f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/aws/s3",
        "alias/aws/s3",
        "alias/aws/strongroom",
        "alias/" + "x" * 300,
        f"arn:aws:kms:{REGION}:999999999999:key/{next(iter(keys.values()))}",
        "arn:aws:iam::000000000000:root",
        "00000000-0000-0000-0000-000000000000",
        "mrk-" + "0" * 32,
    ]


def values(shape: Shape, known: Mapping[str, list[str]], depth: int = 0) -> st.SearchStrategy[Any]:
    """Mostly what the shape asks for, sometimes anything."""
    match shape.type:
        case "structure" if depth < 4:
            members = {name: values(member.shape, known, depth + 1) for name, member in shape.members.items()}
            fitting: st.SearchStrategy[Any] = st.fixed_dictionaries({}, optional=members)
        case "list" if shape.item is not None and depth < 4:
            fitting = st.lists(values(shape.item.shape, known, depth + 1), max_size=3)
        case "map":
            fitting = st.dictionaries(st.sampled_from(["a", "A", "aws:s3:arn", ""]), st.text(max_size=5), max_size=3)
        case "string" if shape.enum:
            fitting = st.sampled_from(sorted(set(shape.enum) - SLOW))
        case "string":
            fitting = st.sampled_from(known["strings"])
        case "integer":
            fitting = st.one_of(st.integers(-1, 400), st.just(shape.minimum or 0))
        case "blob":
            fitting = st.one_of(st.binary(max_size=70).map(encoded), st.sampled_from(known["blobs"]))
        case "boolean":
            fitting = st.booleans()
        case _:
            fitting = st.sampled_from([0, 1.5, 4102444800, "2030-01-01T00:00:00Z", 1e300])
    return st.one_of(fitting, fitting, fitting, fitting, fitting, fitting, st.sampled_from(ODD))


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.fixture(scope="module")
def known(key_server: KeyServer) -> dict[str, list[str]]:
    """Keys of every kind, and what such a service hands out."""
    kms = key_server.client()
    kinds = {
        "symmetric": {},
        "imported": {"Origin": "EXTERNAL"},
        "mac": {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
        "signing": {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"},
        "agreement": {"KeySpec": "ECC_NIST_P384", "KeyUsage": "KEY_AGREEMENT"},
        "edwards": {"KeySpec": "ECC_NIST_EDWARDS25519", "KeyUsage": "SIGN_VERIFY"},
        "rsa": {"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"},
        "lattice": {"KeySpec": "ML_KEM_768", "KeyUsage": "ENCAPSULATE_DECAPSULATE"},
    }
    keys = {kind: kms.create_key(**given)["KeyMetadata"]["KeyId"] for kind, given in kinds.items()}
    kms.create_alias(AliasName="alias/fuzz", TargetKeyId=keys["symmetric"])
    blob = kms.generate_data_key(KeyId=keys["symmetric"], KeySpec="AES_256")["CiphertextBlob"]
    granted = kms.create_grant(
        KeyId=keys["symmetric"], GranteePrincipal=f"arn:aws:iam::{ACCOUNT}:root", Operations=["Decrypt"]
    )
    public = kms.get_public_key(KeyId=keys["agreement"])["PublicKey"]
    token = kms.get_parameters_for_import(
        KeyId=keys["imported"], WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
    )["ImportToken"]
    blobs = [blob, blob[:-1], blob + b"\0", blob[:17], public, public[:-1], token, bytes(256), b"\x01"]
    strings = [*names(keys), *POLICIES, granted["GrantToken"], granted["GrantId"], "default", "x" * 64, "tag"]
    return {"blobs": [encoded(each) for each in blobs], "strings": strings}


@pytest.mark.parametrize("operation", sorted(MODEL.operations))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_f7_no_input_of_an_operation_is_a_500(
    key_server: KeyServer, known: dict[str, list[str]], operation: str, data: st.DataObject
) -> None:
    shape = MODEL.operations[operation].input
    assert shape is not None
    members = {name: values(member.shape, known) for name, member in shape.members.items()}
    required = {name: members.pop(name) for name in list(members) if name in shape.required}
    given = data.draw(st.fixed_dictionaries(required, optional=members))
    status, document, headers = key_server.post(operation, json.dumps(given).encode())
    assert status in (200, 400), (document, given)
    assert headers["x-amzn-requestid"]
    if status == 400:
        assert document["__type"] == headers["x-amzn-errortype"]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [
                b"[" * 500_000,
                b'{"a":' * 100_000,
                b'{"KeyId":"a","KeyId":"b"}',
                b'{"KeyId":"\\ud800"}',
                b'{"NumberOfBytes":1e999}',
                b'{"NumberOfBytes":' + b"9" * 5000 + b"}",
                b'{"NumberOfBytes":NaN}',
                b"\xef\xbb\xbf{}",
                b"{}{}",
                b"null",
                b"1",
                b'"x"',
                b"\xff\xfe{\x00}\x00",
            ]
        ),
    ),
    operation=st.sampled_from(["GenerateRandom", "DescribeKey", "ImportKeyMaterial", "Nothing", "", "decrypt", "ü"]),
)
def test_i5_no_body_is_a_500(key_server: KeyServer, body: bytes, operation: str) -> None:
    headers = signed(body, target=f"TrentService.{operation}", credentials=key_server.root_credentials)
    reply = exchange(("127.0.0.1", key_server.port), head(headers) + body)
    assert reply.status in (200, 400), reply


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["authorization", "x-amz-target", "x-amz-date", "x-amz-content-sha256", "content-type"]),
    value=st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=60),
    method=st.sampled_from(["POST", "GET", "PUT", "DELETE", "PATCH"]),
    path=st.sampled_from(["/", "//", "/?a=b", "/kms", "/-/nothing", "/%00"]),
)
def test_i5_no_head_is_a_500(key_server: KeyServer, name: str, value: str, method: str, path: str) -> None:
    headers = {**signed(b"{}", credentials=key_server.root_credentials), name: value}
    for port in (key_server.port, key_server.internal_port):
        reply = exchange(("127.0.0.1", port), head(headers, method, path) + b"{}", method)
        assert reply.status in (200, 400, 404), reply


def test_a_long_context_under_a_policy_full_of_patterns_stops_nobody(key_server: KeyServer) -> None:
    """Rights to make a key and to use it are enough to try."""
    patterns = [f"*a{number}*b*c" for number in range(1500)]
    statement = {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}
    watched = {**statement, "Condition": {"StringLike": {"kms:EncryptionContext:a": patterns}}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement, watched]}, separators=(",", ":"))
    kms = key_server.client()
    key = kms.create_key(Policy=document)["KeyMetadata"]["KeyId"]
    kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"a": "x" * 8191})
    status, told, _ = key_server.post(
        "Encrypt", {"KeyId": key, "Plaintext": "eA==", "EncryptionContext": {"a": "x" * 8192}}
    )
    assert (status, told["__type"]) == (400, "ValidationException")
    assert told["message"] == "The encryption context is longer than 8192 bytes."
    pairs = {f"{number}": "" for number in range(101)}
    status, told, _ = key_server.post("Encrypt", {"KeyId": key, "Plaintext": "eA==", "EncryptionContext": pairs})
    assert (status, told["message"]) == (400, "The encryption context has more than 100 pairs.")


# --- the admin socket


@pytest.fixture(scope="module")
def administered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that may be broken."""
    with running(tmp_path_factory.mktemp("admin"), "--workers", "1") as server:
        yield server


def ask(server: Server, method: str, target: str, body: bytes = b"") -> Reply:
    request = f"{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode("latin-1")
    return exchange(server.data_dir / "run" / "kms-admin.sock", request + body, method)


def exchange(where: tuple[str, int] | Path, request: bytes, method: str = "POST") -> Reply:
    """A hang is a failure too."""
    family = socket.AF_UNIX if isinstance(where, Path) else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(20)
        connection.connect(str(where) if isinstance(where, Path) else where)
        connection.sendall(request)
        return read_reply(connection, method)


SLOT = st.fixed_dictionaries(
    {"kind": st.sampled_from(["keyfile", "environment", "credential", "passphrase", "none", 1, None])},
    optional={
        "name": st.sampled_from(["x", "default", "", "\0", "a" * 65, "-a", "ü", 1, None]),
        "path": st.sampled_from(
            ["\0", "a\0b", "../x", "/", "/\0", ".", "", "kms.db", "\udcff", "x" * 5000, 1, KEY_FILE]
        ),
        "passphrase": st.sampled_from(["", "short", "aaaaaaaaaaaaaaaa", 1]),
        "key": st.sampled_from(["", "AAAA", "ü", encoded(bytes(32)), 1]),
        "other": st.just("x"),
    },
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT", "PATCH"]),
    target=st.sampled_from(
        [
            *("/", "/slots", "/slots/", "/slots/none", "/slots/%00", "/slots/%ff%fe", "/slots/default/x", "//slots"),
            *("/slots/" + "x" * 3000, "/rotate-root/x", "/slots?a=b", "/%2e%2e/slots"),
        ]
    ),
    body=st.one_of(
        SLOT.map(lambda slot: json.dumps(slot).encode()),
        st.binary(max_size=40),
        st.sampled_from([b"[" * 60_000, b"x" * 70_000, b"\xff", b'{"kind":"keyfile","name":"\\ud800"}', b"null"]),
    ),
)
def test_i5_nothing_sent_to_the_admin_socket_is_a_500(
    administered: Server, method: str, target: str, body: bytes
) -> None:
    reply = ask(administered, method, target, body)
    assert reply.status < 500, (reply, method, target, body)
    assert json.loads(reply.body) is not None


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b'{"passphrases":{"default":1}}', b'{"passphrases":[]}', b'{"other":1}', b"\xff"]
)
def test_i5_no_rotation_is_begun_by_what_is_no_request(administered: Server, body: bytes) -> None:
    before = json.loads(ask(administered, "GET", "/slots").body)
    assert ask(administered, "POST", "/rotate-root", body).status == 400
    assert json.loads(ask(administered, "GET", "/slots").body) == before


def test_f6_the_last_slot_stays_and_every_try_is_recorded(administered: Server) -> None:
    """F6: openbao GHSA-prpj-rchp-9j5h let strangers cancel a rekey. Here only our own user reaches the socket."""
    names_of = [slot["name"] for slot in json.loads(ask(administered, "GET", "/slots").body)["slots"]]
    for name in names_of:
        ask(administered, "DELETE", f"/slots/{name}")
    left = json.loads(ask(administered, "GET", "/slots").body)["slots"]
    assert len(left) == 1
    lines = [
        json.loads(line)["event"]
        for path in (administered.data_dir / "audit").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    tries = [event for event in lines if event["eventName"] == "RemoveUnsealSlot"]
    assert len(tries) >= len(names_of)
    assert any(event.get("errorCode") == "OperationNotPermitted" for event in tries)
    mode = (administered.data_dir / "run" / "kms-admin.sock").stat().st_mode & 0o777
    assert (mode, (administered.data_dir / "run").stat().st_mode & 0o777) == (0o600, 0o700)


def test_the_table_of_operations_is_what_is_fuzzed() -> None:
    assert RULES.keys() <= MODEL.operations.keys()
    assert CONTENT_TYPE == "application/x-amz-json-1.1"
