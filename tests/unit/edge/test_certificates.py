import asyncio
import ipaddress
import socket
import ssl
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from strongroom.edge import certificates
from strongroom.edge.certificates import CertificateError, ServerContext, ensure_certificates, names_to_certify
from tests.serving import Recorder, connection, read_answer, run, serving

NAMES = names_to_certify(["s3.example.com"])
# What ssl.create_default_context() sets since Python 3.13.
STRICT = ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN


def strict_client(data_dir) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=data_dir / certificates.CA_FILE)
    context.verify_flags |= STRICT
    return context


def server_certificate(data_dir) -> x509.Certificate:
    return x509.load_pem_x509_certificate((data_dir / certificates.SERVER_FILE).read_bytes())


def handshake(data_dir, name: str, client: ssl.SSLContext | None = None, server: ServerContext | None = None):
    """A real handshake on loopback; the certificate that the client accepted."""
    context = (server or ServerContext(data_dir / certificates.SERVER_FILE)).context
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as pool:

        def serve() -> None:
            accepted, _ = listening.accept()
            with accepted, suppress(ssl.SSLError, ConnectionError):
                context.wrap_socket(accepted, server_side=True).close()

        pool.submit(serve)
        with (
            socket.create_connection(listening.getsockname()) as connected,
            (client or strict_client(data_dir)).wrap_socket(connected, server_hostname=name) as secured,
        ):
            return secured.getpeercert()


@pytest.fixture
def data_dir(tmp_path):
    assert ensure_certificates(tmp_path, NAMES)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["localhost", "127.0.0.1", "::1", socket.gethostname().lower(), "s3.example.com", "bucket.s3.example.com"],
)
def test_every_name_passes_the_strict_checks_of_python_3_13(data_dir, name) -> None:
    assert handshake(data_dir, name)["issuer"][0][0][1].startswith("Strongroom private CA")


@pytest.mark.parametrize("name", ["example.com", "a.b.s3.example.com", "127.0.0.2"])
def test_other_names_are_not_certified(data_dir, name) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(data_dir, name)


def test_another_ca_is_not_trusted(data_dir, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("other")
    ensure_certificates(other, NAMES)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(data_dir, "localhost", strict_client(other))


def test_the_certificates_follow_rfc_5280(data_dir) -> None:
    authority = x509.load_pem_x509_certificate((data_dir / certificates.CA_FILE).read_bytes())
    server = server_certificate(data_dir)
    for certificate, is_ca in ((authority, True), (server, False)):
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert (basic.critical, basic.value.ca) == (True, is_ca)
        assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, is_ca, not is_ca)
        assert 0 < certificate.serial_number < 2**159
        assert certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    issuer = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert server.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == issuer
    assert server.not_valid_after_utc - server.not_valid_before_utc < timedelta(days=398)


def test_only_the_ca_certificate_leaves_the_directory_of_keys(data_dir) -> None:
    assert b"PRIVATE" not in (data_dir / certificates.CA_FILE).read_bytes()
    assert stat.S_IMODE((data_dir / "tls").stat().st_mode) == 0o700
    for path in (data_dir / "tls").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_start_changes_nothing(data_dir) -> None:
    before = (data_dir / certificates.SERVER_FILE).read_bytes()
    assert not ensure_certificates(data_dir, NAMES)
    assert (data_dir / certificates.SERVER_FILE).read_bytes() == before


@pytest.mark.parametrize("damage", ["missing", "names", "expiring", "expired", "garbage", "cut", "foreign"])
def test_the_server_certificate_is_renewed_under_the_same_ca(data_dir, tmp_path_factory, damage) -> None:
    path = data_dir / certificates.SERVER_FILE
    client = strict_client(data_dir)
    names, now = NAMES, None
    match damage:
        case "missing":
            path.unlink()
        case "names":
            names = names_to_certify(["another.example"])
        case "expiring":
            now = datetime.now(UTC) + timedelta(days=61)
        case "expired":
            now = datetime.now(UTC) + timedelta(days=1000)
        case "garbage":
            path.write_bytes(b"garbage")
        case "cut":
            path.write_bytes(path.read_bytes()[:-100])
        case "foreign":
            other = tmp_path_factory.mktemp("other")
            ensure_certificates(other, NAMES)
            path.write_bytes((other / certificates.SERVER_FILE).read_bytes())
    assert ensure_certificates(data_dir, names, now=now)
    assert not ensure_certificates(data_dir, names, now=now)
    if now is None:
        handshake(data_dir, "localhost", client)
    else:
        assert server_certificate(data_dir).not_valid_after_utc > now + timedelta(days=30)


def test_a_certificate_with_30_days_left_is_kept(data_dir) -> None:
    assert not ensure_certificates(data_dir, NAMES, now=datetime.now(UTC) + timedelta(days=59))


@pytest.mark.parametrize("damage", ["missing", "old", "garbage"])
def test_a_renewed_ca_verifies_for_clients_of_the_old_one(data_dir, damage) -> None:
    client = strict_client(data_dir)
    now = None
    match damage:
        case "missing":
            (data_dir / certificates.CA_FILE).unlink()
        case "garbage":
            (data_dir / certificates.CA_FILE).write_text("garbage")
        case "old":
            # Made so that it ends soon, then renewed today.
            old = datetime.now(UTC) - timedelta(days=3650 - 300)
            (data_dir / certificates.CA_FILE).unlink()
            ensure_certificates(data_dir, NAMES, now=old)
            client = strict_client(data_dir)
    assert ensure_certificates(data_dir, NAMES, now=now)
    handshake(data_dir, "localhost", client)
    handshake(data_dir, "localhost")


def test_a_damaged_ca_key_is_never_replaced(data_dir) -> None:
    path = data_dir / certificates.CA_KEY_FILE
    path.write_text("garbage")
    with pytest.raises(CertificateError, match=r"ca-key\.pem is not the CA's key"):
        ensure_certificates(data_dir, NAMES)
    assert path.read_text() == "garbage"


def test_names() -> None:
    names = names_to_certify(["s3.example.com"], "192.0.2.7")
    assert {"localhost", "127.0.0.1", "::1", "s3.example.com", "*.s3.example.com", "192.0.2.7"} <= set(names)
    assert not {"0.0.0.0", "::"} & set(names_to_certify([], "0.0.0.0") + names_to_certify([], "::"))
    assert len(names_to_certify([], "localhost")) == len(names_to_certify([]))


def test_tls_below_1_2_is_refused(data_dir) -> None:
    client = strict_client(data_dir)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        client.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        handshake(data_dir, "localhost", client)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])  # with and without a server name in the handshake
def test_a_new_certificate_is_served_without_a_restart(data_dir, name) -> None:
    async def serial(port: int) -> int:
        async with connection(port, strict_client(data_dir), name) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await read_answer(reader))[0] == 200
            return int(writer.get_extra_info("peercert")["serialNumber"], 16)

    async def test() -> None:
        context = ServerContext(data_dir / certificates.SERVER_FILE)
        hint = asyncio.Event()
        following = asyncio.create_task(context.follow(hint))
        application = Recorder()
        async with serving(application, tls=context.context) as served:
            before = await serial(served.port)
            (data_dir / certificates.SERVER_FILE).unlink()
            ensure_certificates(data_dir, NAMES)
            hint.set()
            while hint.is_set():  # noqa: ASYNC110 - cleared in the same step as the reload
                await asyncio.sleep(0)
            after = await serial(served.port)
            assert (before, after) == (before, server_certificate(data_dir).serial_number)
            assert before != after
            # A bad file changes nothing for clients.
            (data_dir / certificates.SERVER_FILE).write_text("garbage")
            assert not context.reload()
            assert await serial(served.port) == after
        assert application.scopes[0]["scheme"] == "https"
        following.cancel()

    run(test())


def test_a_certificate_with_another_key_is_refused(data_dir, tmp_path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes((data_dir / certificates.SERVER_FILE).read_bytes())
    key.write_bytes((data_dir / certificates.CA_KEY_FILE).read_bytes())
    with pytest.raises(CertificateError, match=r"certificate\.pem and .*key\.pem: the key is not that of the cert"):
        ServerContext(certificate, key)
    key.write_text("garbage")
    with pytest.raises(CertificateError, match=r"key\.pem: wanted are a certificate and its key in PEM\.$"):
        ServerContext(certificate, key)


def test_an_encrypted_key_is_refused_and_asks_nobody(data_dir, tmp_path) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key((data_dir / certificates.SERVER_FILE).read_bytes(), None)
    path = tmp_path / "encrypted.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(CertificateError, match="encrypted"):
        ServerContext(data_dir / certificates.SERVER_FILE, path)


def test_a_missing_certificate_is_named(tmp_path) -> None:
    with pytest.raises(CertificateError, match=r": No such file or directory: .*/absent\.pem\.$"):
        ServerContext(tmp_path / "absent.pem")


def test_of_two_files_the_missing_one_is_named(data_dir, tmp_path) -> None:
    with pytest.raises(CertificateError, match=r": No such file or directory: .*/absent\.pem\.$"):
        ServerContext(data_dir / certificates.SERVER_FILE, tmp_path / "absent.pem")


def test_addresses_are_certified_as_addresses(data_dir) -> None:
    names = server_certificate(data_dir).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.IPAddress)) == {
        ipaddress.ip_address("127.0.0.1"),
        ipaddress.ip_address("::1"),
    }
