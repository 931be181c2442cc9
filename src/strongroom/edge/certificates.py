"""The private CA, the server certificate that it signs, and the TLS context that follows both without a restart.

So that TLS is there from the first start, the server is its own CA: clients trust `DIR/ca.pem` and nothing else changes
hands. Certificates follow RFC 5280 to the letter, because Python 3.13 and later check it (VERIFY_X509_STRICT). Keys and
signatures come from `cryptography`. This module opens no socket.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from strongroom.database.private_file import make_private_directory, write_private
from strongroom.observe import log

CA_FILE = "ca.pem"
CA_KEY_FILE = "tls/ca-key.pem"
SERVER_FILE = (
    "tls/server.pem"  # the key, then the certificate: one file, so a reader never pairs an old one with a new one
)

CA_LIFE = timedelta(days=3650)
CA_RENEWAL = timedelta(days=365)
SERVER_LIFE = timedelta(days=90)
SERVER_RENEWAL = timedelta(days=30)
_BACKDATED = timedelta(hours=1)  # for clients whose clock is behind ours

WATCH_SECONDS = 5.0


class CertificateError(Exception):
    """A key or certificate file can't be used. The text is meant for people and holds no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def ensure_certificates(data_dir: Path, names: Sequence[str], *, now: datetime | None = None) -> bool:
    """Make or renew what is missing, expiring, or doesn't name exactly `names` (DNS names and IP addresses); whether
    anything was written.

    The CA keeps its key for ever, so that a renewed CA certificate verifies what the old one verified. Raises
    CertificateError.
    """
    moment = now or datetime.now(UTC)
    make_private_directory(data_dir / "tls")
    authority, renewed = _ensure_authority(data_dir, moment)
    path = data_dir / SERVER_FILE
    if not renewed and _is_good(path, authority, names, moment):
        return False
    key, certificate = _issue(authority, names, moment)
    write_private(path, _key_pem(key) + certificate.public_bytes(Encoding.PEM))
    return True


def names_to_certify(domains: Iterable[str], *listen_hosts: str) -> tuple[str, ...]:
    """What the server certificate says: this machine's names, each domain with its buckets, and the addresses listened
    on where they are certain ones.
    """
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname().lower(), *listen_hosts]
    for domain in domains:
        names += [domain, f"*.{domain}"]
    return tuple(dict.fromkeys(name for name in names if _can_be_certified(name)))


class ServerContext:
    """A TLS context for servers whose certificate follows its files.

    Every handshake takes the newest context that could be loaded; a bad file on disk changes nothing but the log.
    """

    def __init__(self, certificate: Path, key: Path | None = None) -> None:
        """`key` None: the key stands in `certificate`. Raises CertificateError."""
        self._certificate = certificate
        self._key = key
        self._paths = (certificate,) if key is None else (certificate, key)
        self._seen = self._stamps()
        self._newest = self._load()
        self.context = self._load()
        # Called in every handshake, with or without a server name. Swapping contexts is atomic, reloading one in place
        # is not.
        self.context.sni_callback = self._use_newest

    def reload(self) -> bool:
        """Whether the files changed and could be loaded."""
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        self._seen = stamps
        try:
            self._newest = self._load()
        except CertificateError as error:
            log.failure("The TLS certificate was not reloaded", reason=str(error))
            return False
        log.info("The TLS certificate was reloaded", path=str(self._certificate))
        return True

    async def follow(self, hint: asyncio.Event) -> None:
        """Reload whenever the files change, looking every few seconds and on `hint`. Never returns."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(hint.wait(), WATCH_SECONDS)
            hint.clear()
            self.reload()

    def _use_newest(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            for path in self._paths:  # OpenSSL would not say which of them it misses
                path.open("rb").close()
            # An encrypted key would make OpenSSL ask on the terminal: a server has nobody to answer.
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (OSError, ValueError) as error:
            where = " and ".join(map(str, self._paths))
            raise CertificateError(f"The TLS certificate can't be loaded from {where}: {_why(error)}.") from None
        return context

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._paths)


def _why(error: OSError | ValueError) -> str:
    match error:
        case ssl.SSLError(reason="KEY_VALUES_MISMATCH"):
            return "the key is not that of the certificate"
        case ssl.SSLError():
            return "wanted are a certificate and its key in PEM"
        case OSError():
            return f"{error.strerror}: {error.filename}"
    return str(error)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _no_password() -> str:
    raise ValueError("the key is encrypted; give one without a passphrase")


def _ensure_authority(data_dir: Path, now: datetime) -> tuple[_Authority, bool]:
    key_path, path = data_dir / CA_KEY_FILE, data_dir / CA_FILE
    try:
        key = _read_key(key_path.read_bytes(), key_path)
    except FileNotFoundError:
        key = ec.generate_private_key(ec.SECP256R1())
        write_private(key_path, _key_pem(key), replace=False)
    certificate = _read_certificate(path)
    if (
        certificate is not None
        and certificate.public_key() == key.public_key()
        and certificate.not_valid_after_utc - now > CA_RENEWAL
    ):
        return _Authority(key=key, certificate=certificate), False
    made = _sign_authority(key, now)
    write_private(path, made.public_bytes(Encoding.PEM))
    return _Authority(key=key, certificate=made), True


def _sign_authority(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # The key's digest makes the name unique: a client that trusts two such CAs finds the right one.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Strongroom private CA {identifier.digest[:4].hex()}")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(digital_signature=False, key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )


def _issue(
    authority: _Authority, names: Sequence[str], now: datetime
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Strongroom")]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(min(now + SERVER_LIFE, authority.certificate.not_valid_after_utc))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True, key_cert_sign=False, crl_sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return key, certificate


def _is_good(path: Path, authority: _Authority, names: Sequence[str], now: datetime) -> bool:
    certificate = _read_certificate(path)
    if certificate is None:
        return False
    try:
        certificate.verify_directly_issued_by(authority.certificate)
        key = load_pem_private_key(path.read_bytes(), password=None)
        given = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
        return False  # it is ours to replace
    return (
        key.public_key() == certificate.public_key()
        and certificate.not_valid_after_utc - now > SERVER_RENEWAL
        and certificate.not_valid_before_utc <= now
        and set(given) == {_general_name(name) for name in names}
    )


def _read_certificate(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _read_key(pem: bytes, path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        # Never replaced on the quiet: every client that trusts the CA would stop working.
        raise CertificateError(f"{path} is not the CA's key. Restore it, or delete it to have a new CA made.")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _key_usage(*, digital_signature: bool, key_cert_sign: bool, crl_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _can_be_certified(name: str) -> bool:
    try:
        return not ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return bool(name) and name.isascii() and all(c.isalnum() or c in "-._*" for c in name)
