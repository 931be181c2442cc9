"""G1: canary secrets through every path, then a search wherever the server can speak: its log at debug level,
its tracebacks, its audit log, its metrics, its error documents, its files.

ceph CVE-2018-16889, seaweedfs b3e50bb12, rustfs GHSA-r54g, openbao GHSA-ghfh.
"""

import base64
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from strongroom.identity.root import Credentials
from tests.harness import Reply, Server, customer_key_headers, read_reply, running, unique_bucket
from tests.json_serving import head as kms_head
from tests.json_serving import signed as kms_signed
from tests.key_service import ACCOUNT
from tests.security.test_sse_c_errors import block, logged
from tests.security.test_unsigned_requests import metrics_of
from tests.wire import (
    SIGNED,
    SIGNED_TRAILER,
    UNSIGNED_TRAILER,
    exchange,
    form,
    policy_fields,
    presign,
    request_bytes,
    signed,
    streaming_put,
)

SECRET = "canary" + secrets.token_hex(17)  # the root's secret access key


@dataclass
class Canaries:
    """Every value that may not be found, by what it is."""

    values: dict[str, str] = field(default_factory=dict)

    def key(self, name: str) -> dict[str, str]:
        """A customer's key and its MD5, in each form that they have."""
        key = secrets.token_bytes(32)
        digest = hashlib.md5(key).digest()
        for form_of, value in ((f"key of {name}", key), (f"MD5 of the key of {name}", digest)):
            self.values[f"{form_of}, base64"] = base64.b64encode(value).decode()
            self.values[f"{form_of}, hex"] = value.hex()
            self.values[f"{form_of}, repr"] = repr(value)[2:-1]
        return customer_key_headers(key)

    def add(self, name: str, value: bytes) -> bytes:
        """A secret of the key service or of a client of its."""
        self.values[f"{name}, base64"] = base64.b64encode(value).decode()
        self.values[f"{name}, hex"] = value.hex()
        self.values[f"{name}, repr"] = repr(value)[2:-1]
        return value

    def found_in(self, text: str) -> list[str]:
        return [name for name, value in self.values.items() if value in text]


@dataclass(frozen=True)
class Watched:
    server: Server
    canaries: Canaries
    replies: list[Reply]

    def send(self, *arguments: str, **more) -> Reply:
        self.replies.append(self.server.send(*arguments, **more))
        return self.replies[-1]


def source(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("x-amz-", "x-amz-copy-source-", 1): value for name, value in headers.items()}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A server with everything logged, after it was asked everything with a secret in it."""
    settings = {
        "STRONGROOM_LOG_LEVEL": "debug",
        "STRONGROOM_ROOT_ACCESS_KEY_ID": "canary-root",
        "STRONGROOM_ROOT_SECRET_ACCESS_KEY": SECRET,
        "PYTHONFAULTHANDLER": "1",
        "PYTHONASYNCIODEBUG": "1",
    }
    with running(tmp_path_factory.mktemp("watched"), "--workers", "1", environment=settings) as server:
        server.access_key_id, server.secret = "canary-root", SECRET
        watched = Watched(server, Canaries({"secret access key": SECRET}), [])
        bucket = unique_bucket()
        watched.send("PUT", f"/{bucket}")
        with_customer_keys(watched, bucket)
        with_mistakes(watched, bucket)
        with_signatures(watched, bucket)
        with_key_service(watched, bucket)
        with_requests_of_kms(watched)
        with_slots(watched)
        with_damage(watched, bucket)
        yield watched


def with_customer_keys(watched: Watched, bucket: str) -> None:
    """What goes well."""
    send, key = watched.send, watched.canaries.key("a good request")
    other = watched.canaries.key("a copy")
    assert send("PUT", f"/{bucket}/object", headers=key, body=b"content").status == 200
    assert send("PUT", f"/{bucket}/object", headers=key, body=b"content", tls=True).status == 200
    assert send("GET", f"/{bucket}/object", headers=key).status == 200
    assert send("HEAD", f"/{bucket}/object", headers=key).status == 200
    assert send("GET", f"/{bucket}/object?attributes", headers={**key, "x-amz-object-attributes": "ETag"}).status == 200
    copied = {"x-amz-copy-source": f"/{bucket}/object", **source(key), **other}
    assert send("PUT", f"/{bucket}/copy", headers=copied).status == 200
    target = f"/{bucket}/parts?uploadId=" + send("POST", f"/{bucket}/parts?uploads", headers=key).element("UploadId")
    assert send("PUT", f"{target}&partNumber=1", headers=key, body=b"content").status == 200
    part = {"x-amz-copy-source": f"/{bucket}/copy", **source(other), **key}
    assert send("PUT", f"{target}&partNumber=1", headers=part).status == 200
    etag = send("GET", target, headers=key).element("ETag")
    document = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    )
    assert send("POST", target, headers=key, body=document.encode()).status == 200
    fields = {"key": "posted", **key}
    conditions = [{"bucket": bucket}, *({name: value} for name, value in fields.items())]
    assert (
        form({**fields, **policy_fields(watched.server, conditions)}, b"x").post(watched.server, f"/{bucket}").status
        == 204
    )


def with_mistakes(watched: Watched, bucket: str) -> None:
    """What is refused, with a key in it all the same."""
    send, server = watched.send, watched.server
    key = watched.canaries.key("a refused request")
    name = "x-amz-server-side-encryption-customer-key"
    for headers in (
        {**key, "x-amz-server-side-encryption": "AES256"},
        {**key, "x-amz-server-side-encryption-customer-algorithm": "KMS"},
        {**key, f"{name}-md5": "wrong"},
        {**key, name: key[name] + "A"},
        {**key, "x-forwarded-for": "192.0.2.1"},
        {**key, "x-amz-acl": "public-read"},
        {**key, "content-md5": "wrong"},
        {**key, "x-amz-tagging": "a=b=c&a"},
    ):
        for method, target in (
            ("PUT", f"/{bucket}/refused"),
            ("GET", f"/{bucket}/object"),
            ("POST", f"/{bucket}/o?uploads"),
        ):
            send(method, target, headers=headers)
    for target in (
        f"/{bucket}/object",
        f"/{bucket}/missing",
        "/no-such-bucket/a",
        f"/{bucket}?acl",
        f"/{bucket}/a?torrent",
    ):
        for method in ("GET", "PUT", "DELETE", "POST", "PATCH"):
            send(method, target, headers=key)
            send(method, target, headers=source(key))
    # The key where it does not belong: nobody can keep a client from that, but the log need not repeat queries.
    query = "&".join(f"{each}={value}".replace("+", "%2B") for each, value in key.items())
    send("PUT", f"/{bucket}/in-the-query?{query}")
    send("GET", f"/{bucket}/object?{query}&partNumber=x")
    watched.replies.append(server.send("PUT", presign(server, "PUT", f"/{bucket}/presigned", query=query), sign=False))
    blocking = unique_bucket()
    send("PUT", f"/{blocking}")
    block(server, blocking, "SSE-C")
    send("PUT", f"/{blocking}/object", headers=key)
    fields = {"key": "posted", **key}
    for conditions in ([{"bucket": bucket}], [{"bucket": bucket}, {"key": "x"}, {name: "another"}]):
        upload = form({**fields, **policy_fields(server, conditions)}, b"x")
        watched.replies.append(upload.post(server, f"/{bucket}"))
    upload = form({**fields, **policy_fields(server, [], secret="wrong")}, b"x")
    watched.replies.append(upload.post(server, f"/{bucket}"))


def with_signatures(watched: Watched, bucket: str) -> None:
    """Signatures and Authorization headers, good and bad."""
    server, values, replies = watched.server, watched.canaries.values, watched.replies
    key = watched.canaries.key("a badly signed request")
    good = presign(server, "GET", f"/{bucket}/object")
    values["presigned signature"] = good.rpartition("=")[2]
    replies += [server.send("GET", good, sign=False), server.send("GET", f"{good}&partNumber=x", sign=False)]
    expired = presign(server, "GET", f"/{bucket}/object", expires=1).replace("Expires=1&", "Expires=2&")
    replies.append(server.send("GET", expired, sign=False))
    head = signed(server, "PUT", f"/{bucket}/object", {"content-length": "0", **key})
    values["signature of a request"] = head["authorization"].rpartition("=")[2]
    replies.append(exchange(server, request_bytes("PUT", f"/{bucket}/object", list(head.items())), "PUT"))
    head = signed(server, "PUT", f"/{bucket}/other", {"content-length": "0", **key})
    replies.append(exchange(server, request_bytes("PUT", f"/{bucket}/wrong", list(head.items())), "PUT"))
    for scheme in ("Bearer", "Basic", "AWS canary-root:"):
        token = "canary" + secrets.token_hex(16)
        values[f"token of {scheme}"] = token
        replies.append(server.send("GET", f"/{bucket}", headers={"authorization": f"{scheme} {token}"}, sign=False))
    values["session token"] = "canary" + secrets.token_hex(16)
    replies.append(server.send("GET", f"/{bucket}", headers={"x-amz-security-token": values["session token"]}))
    for payload in (SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER):
        trailers = None if payload == SIGNED else {"x-amz-checksum-crc32": "AAAAAA=="}
        replies.append(streaming_put(server, f"/{bucket}/object", [b"a"], payload, trailers=trailers, headers=key))
    # No request at all, with secrets in it.
    for line in (
        b"GET / HTTP/1.1\r\nx: \x00",
        b"GET /\r\n",
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
    ):
        text = line + f"\r\nauthorization: {values['session token']}\r\n\r\n".encode()
        with server.connect() as connection:
            connection.sendall(text)
            connection.settimeout(0.2)
            try:
                connection.recv(1000)
            except (TimeoutError, ConnectionError):
                continue


# --- the key service


def with_key_service(watched: Watched, bucket: str) -> None:
    """What goes well: everything that a key service hands out in clear or sealed, and objects under its keys."""
    canaries, kms = watched.canaries, watched.server.kms(parameter_validation=False)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    context = {"aws:s3:arn": "arn:aws:s3:::b/k"}
    made = kms.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=context)
    canaries.add("a data key", made["Plaintext"])
    canaries.add("its blob", made["CiphertextBlob"])
    kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context)
    sealed = kms.encrypt(KeyId=key, Plaintext=canaries.add("Plaintext of Encrypt", os.urandom(48)))
    canaries.add("what Encrypt gave", sealed["CiphertextBlob"])
    moved = kms.re_encrypt(CiphertextBlob=sealed["CiphertextBlob"], DestinationKeyId=key)
    canaries.add("what ReEncrypt gave", moved["CiphertextBlob"])
    pair = kms.generate_data_key_pair(KeyId=key, KeyPairSpec="ECC_NIST_P256")
    canaries.add("a private key", pair["PrivateKeyPlaintext"])
    canaries.add("randomness", kms.generate_random(NumberOfBytes=32)["Plaintext"])
    mac = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    message = canaries.add("a message", os.urandom(32))
    canaries.add("its MAC", kms.generate_mac(KeyId=mac, Message=message, MacAlgorithm="HMAC_SHA_256")["Mac"])
    agreement = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")["KeyMetadata"]["KeyId"]
    shared = kms.derive_shared_secret(KeyId=agreement, KeyAgreementAlgorithm="ECDH", PublicKey=pair["PublicKey"])
    canaries.add("a shared secret", shared["SharedSecret"])
    granted = kms.create_grant(KeyId=key, GranteePrincipal=f"arn:aws:iam::{ACCOUNT}:root", Operations=["Decrypt"])
    canaries.values["a grant token"] = granted["GrantToken"]
    kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context, GrantTokens=[granted["GrantToken"]])
    imported(watched, kms)
    for mode in ({}, {"x-amz-server-side-encryption-bucket-key-enabled": "true"}, {"x": "dsse"}):
        sse = "aws:kms:dsse" if "x" in mode else "aws:kms"
        headers = {"x-amz-server-side-encryption": sse, "x-amz-server-side-encryption-aws-kms-key-id": key, **mode}
        assert watched.send("PUT", f"/{bucket}/under-kms", headers=headers, body=b"content").status == 200
        assert watched.send("GET", f"/{bucket}/under-kms").status == 200
    kms.disable_key(KeyId=key)
    assert watched.send("PUT", f"/{bucket}/refused", headers=headers, body=b"content").status == 400
    kms.enable_key(KeyId=key)


def imported(watched: Watched, kms: Any) -> None:
    canaries = watched.canaries
    key = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    given = kms.get_parameters_for_import(KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048")
    canaries.add("an import token", given["ImportToken"])
    wrapping = load_der_public_key(given["PublicKey"])
    assert isinstance(wrapping, RSAPublicKey)
    material = canaries.add("imported material", os.urandom(32))
    wrapped = wrapping.encrypt(material, OAEP(MGF1(SHA256()), SHA256(), None))
    canaries.add("wrapped material", wrapped)
    with pytest.raises(ClientError):
        kms.import_key_material(
            KeyId=key,
            ImportToken=given["ImportToken"],
            EncryptedKeyMaterial=wrapped[:-1],
            ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
        )
    kms.import_key_material(
        KeyId=key,
        ImportToken=given["ImportToken"],
        EncryptedKeyMaterial=wrapped,
        ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
    )


def with_requests_of_kms(watched: Watched) -> None:
    """What is refused, with secrets in it all the same: of a wrong type, in the wrong place, too long, badly signed."""
    server, values = watched.server, watched.canaries.values
    credentials = Credentials(access_key_id=server.access_key_id, secret_access_key=server.secret)
    key = server.kms().create_key()["KeyMetadata"]["KeyId"]
    plaintext = base64.b64encode(watched.canaries.add("a refused plaintext", os.urandom(40))).decode()
    values["a refused grant token"] = token = "canary" + secrets.token_urlsafe(30)
    values["a store's password"] = password = "canary" + secrets.token_hex(
        10
    )  # as long as one may be: it reaches the record
    values["a proxy's secret"] = proxy_secret = "canary" + secrets.token_hex(20)
    long_plaintext = base64.b64encode(base64.b64decode(plaintext) * 200).decode()
    blob = base64.b64encode(os.urandom(30) + base64.b64decode(plaintext)).decode()
    bodies: list[tuple[str, Any]] = [
        ("Encrypt", {"KeyId": key, "Plaintext": long_plaintext}),
        ("Encrypt", {"KeyId": key, "Plaintext": [plaintext]}),
        ("Encrypt", {"KeyId": key, "Plaintext": {"a": plaintext}}),
        ("Encrypt", {"KeyId": key, "Plaintext": plaintext + "="}),
        ("Encrypt", {"KeyId": key, "Plaintext": plaintext, "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"}),
        ("Encrypt", {"KeyId": 1, "Plaintext": plaintext}),
        ("Encrypt", {"KeyId": key, "Plaintext": plaintext, "GrantTokens": [token]}),
        ("Encrypt", {"KeyId": key, "Plaintext": plaintext, "GrantTokens": [token] * 11}),
        ("Encrypt", {"KeyId": key, "Plaintext": plaintext, "GrantTokens": [token * 300]}),
        ("Encrypt", {"KeyId": key, "Plaintext": plaintext, "Unknown": plaintext}),
        ("Decrypt", {"CiphertextBlob": blob}),
        ("Decrypt", {"CiphertextBlob": blob, "KeyId": key}),
        ("Decrypt", {"CiphertextBlob": blob + "!"}),
        ("RetireGrant", {"GrantToken": token}),
        ("ImportKeyMaterial", {"KeyId": key, "ImportToken": blob, "EncryptedKeyMaterial": plaintext}),
        ("Sign", {"KeyId": key, "Message": plaintext, "SigningAlgorithm": "ECDSA_SHA_256"}),
        ("CreateCustomKeyStore", {"CustomKeyStoreName": "a", "KeyStorePassword": password}),
        ("UpdateCustomKeyStore", {"CustomKeyStoreId": "a", "KeyStorePassword": password}),
        (
            "CreateCustomKeyStore",
            {
                "CustomKeyStoreName": "a",
                "XksProxyAuthenticationCredential": {"AccessKeyId": "A" * 20, "RawSecretAccessKey": proxy_secret},
            },
        ),
        ("Nothing", {"Plaintext": plaintext}),
    ]
    wrong = Credentials(access_key_id=server.access_key_id, secret_access_key="wrong" * 8)
    for operation, given in bodies:
        body = json.dumps(given).encode()
        for who in (credentials, wrong):
            headers = kms_signed(body, target=f"TrentService.{operation}", credentials=who)
            watched.replies.append(raw_kms(server, kms_head(headers) + body))
            assert watched.replies[-1].status == (200 if "Unknown" in given and who is credentials else 400)
    body = b'{"Plaintext":"' + plaintext.encode() + b'"'
    headers = kms_signed(body, target="TrentService.Encrypt", credentials=credentials)
    watched.replies.append(raw_kms(server, kms_head(headers) + body))


def raw_kms(server: Server, request: bytes) -> Reply:
    with socket.create_connection(("127.0.0.1", server.kms_port), timeout=20) as connection:
        connection.sendall(request)
        return read_reply(connection, "POST")


def with_slots(watched: Watched) -> None:
    """Passphrases and keys on the admin socket, taken and refused."""
    values = watched.canaries.values
    values["a passphrase"] = passphrase = "canary passphrase " + secrets.token_urlsafe(20)
    values["a slot's key"] = key = base64.b64encode(os.urandom(32)).decode()
    values["a weak passphrase"] = weak = "canary" + secrets.token_hex(2)
    requests: list[tuple[str, str, Any, int]] = [
        ("POST", "/slots", {"kind": "passphrase", "name": "a", "passphrase": passphrase}, 200),
        ("POST", "/slots", {"kind": "environment", "name": "b", "key": key}, 200),
        ("POST", "/slots", {"kind": "passphrase", "name": "a", "passphrase": passphrase}, 400),
        ("POST", "/slots", {"kind": "passphrase", "name": "c", "passphrase": weak}, 400),
        ("POST", "/slots", {"kind": "credential", "name": "d", "key": key}, 400),
        ("POST", "/slots", {"kind": "credential", "name": "d", "key": key[:-4]}, 400),
        ("POST", "/slots", {"kind": "passphrase", "name": "e", "key": key}, 400),
        ("POST", "/slots", {"kind": "keyfile", "name": "f", "passphrase": [passphrase]}, 400),
        ("POST", "/slots", {"kind": "keyfile", "name": "f", "unknown": passphrase}, 400),
        ("POST", "/rotate-root", {"passphrases": {"a": passphrase, "x": [passphrase]}}, 400),
        ("POST", "/rotate-root", {"passphrases": {"a": weak}}, 200),
        ("GET", "/slots", None, 200),
    ]
    for method, path, given, status in requests:
        body = b"" if given is None else json.dumps(given).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(watched.server.data_dir / "run" / "kms-admin.sock"))
            connection.sendall(head.encode() + body)
            watched.replies.append(read_reply(connection, method))
        assert watched.replies[-1].status == status, (given, watched.replies[-1])


def with_damage(watched: Watched, bucket: str) -> None:
    """Errors of the server's own, which write tracebacks, with keys of customers on the stack."""
    send, server = watched.send, watched.server
    key = watched.canaries.key("a request that fails inside")
    assert send("PUT", f"/{bucket}/damaged", headers=key, body=b"content").status == 200
    for path in (server.data_dir / "s3" / "blobs").glob("??/*"):
        content = path.read_bytes()
        os.chmod(path, 0o600)
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    damaged = send("GET", f"/{bucket}/damaged", headers=key)
    assert damaged.status == 500
    copied = {"x-amz-copy-source": f"/{bucket}/damaged", **source(key), **watched.canaries.key("a copy that fails")}
    failed = send("PUT", f"/{bucket}/copy", headers=copied)
    assert failed.status == 500
    assert "integrity" in logged(server, damaged)
    assert send("GET", f"/{bucket}/under-kms").status == 500  # its data key is on the stack
    assert "Traceback" in server.log.read_text()


def test_no_secret_is_in_the_log_or_a_traceback(watched: Watched) -> None:
    last = watched.server.send("GET", "/")
    logged(watched.server, last)  # everything before it is written
    text = watched.server.log.read_text()
    assert text.count("Request ") > 100
    assert watched.canaries.found_in(text) == []
    assert "Signature=" not in text
    assert "x-amz-server-side-encryption-customer-key=" not in text


def test_g1_no_secret_of_the_key_service_shows_anywhere(watched: Watched) -> None:
    """In the audit log, beside everything that is looked at below: neither plaintext nor ciphertext, token or passphrase."""
    lines = [path.read_text() for path in (watched.server.data_dir / "audit").glob("*.jsonl")]
    told = "".join(lines)
    assert watched.canaries.found_in(told) == []
    events = [json.loads(line)["event"] for line in told.splitlines()]
    named = {event["eventName"] for event in events}
    assert {"Decrypt", "Encrypt", "GenerateDataKey", "ImportKeyMaterial", "AddUnsealSlot", "RotateRoot"} <= named
    assert sum("errorCode" in event for event in events) > 20
    held = {path: path.read_bytes().strip().decode() for path in key_files(watched.server.data_dir)}
    assert len(held) >= 3
    spoken = told + watched.server.log.read_text() + "".join(each.body.decode("latin-1") for each in watched.replies)
    assert [path for path, key in held.items() if key in spoken] == []


def key_files(directory: Path) -> list[Path]:
    found = [directory / "kms" / "root.key", directory / "identity" / "identity.key"]
    return [*found, *(directory / "s3" / "keys").iterdir()]


def test_no_secret_is_in_the_metrics(watched: Watched) -> None:
    head = request_bytes("GET", "/metrics", [("Host", "m"), ("Connection", "close")])
    figures = exchange(metrics_of(watched.server), head).body.decode()
    assert "strongroom_integrity_errors_total" in figures
    assert watched.canaries.found_in(figures) == []


def test_no_customer_key_and_no_secret_is_in_an_answer(watched: Watched) -> None:
    """But the MD5, which S3 sends back, and the signature that a client sent in vain."""
    allowed = ("MD5 of", "presigned signature", "signature of a request")
    for reply in watched.replies:
        text = reply.body.decode("latin-1") + " ".join(reply.headers.values())
        assert [name for name in watched.canaries.found_in(text) if not name.startswith(allowed)] == []
        assert [
            name for name in watched.canaries.found_in(reply.body.decode("latin-1")) if name.startswith("MD5")
        ] == []


def test_no_secret_is_in_a_file(watched: Watched) -> None:
    """E9: neither a customer's key nor its MD5 is stored; the environment's credentials are never written down."""
    everything = b"\n".join(path.read_bytes() for path in files(watched.server.data_dir))
    assert watched.canaries.found_in(everything.decode("latin-1")) == []
    raw = [value for name, value in watched.canaries.values.items() if name.endswith("hex")]
    assert [value for value in raw if bytes.fromhex(value) in everything] == []


def test_no_secret_is_on_a_command_line(watched: Watched) -> None:
    for pid in (watched.server.process.pid, *watched.server.processes()):
        assert watched.canaries.found_in(Path(f"/proc/{pid}/cmdline").read_text()) == []


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]
