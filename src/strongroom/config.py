"""The settings: one frozen value, made from flags, the environment and a TOML file, in that order of precedence.

Everything that can be wrong with a setting is found here, at start, and said in one sentence that names the setting.
Lower layers receive plain values, never `Settings`. This module opens no socket and reads no key.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "STRONGROOM_"
FILE_NAME = "strongroom.toml"

# Secrets come in through the environment too, but they are no settings: they may not stand in a file that people copy
# around.
_NOT_SETTINGS = frozenset(
    {
        *("ROOT_ACCESS_KEY_ID", "ROOT_SECRET_ACCESS_KEY", "STORE_KEY", "STORE_KEY_PREVIOUS", "DATA_DIR"),
        *("KMS_ROOT_KEY", "KMS_PASSPHRASE"),
    }
)
# Kubernetes puts such variables into every pod beside a Service called "strongroom"; they are nobody's typing error.
_SERVICE_LINK = re.compile(r"(.*_)?(SERVICE_(HOST|PORT)(_.*)?|PORT(_\d+_(TCP|UDP)(_.*)?)?)")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_REGION = re.compile(r"[a-z0-9-]{1,63}")
_ACCOUNT = re.compile(r"\d{12}")


class ConfigError(Exception):
    """A setting is unknown or wrong. The text names it and is meant for people."""


class Address(NamedTuple):
    """Where to listen. `host` is an IP address or a name, without brackets; port 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: object) -> Address | None:
    """`host:port`, `[ipv6]:port`, or `off` (None). Raises ValueError."""
    if text is None or isinstance(text, Address):
        return text
    if text == "off":
        return None
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.%\w]+)\]|([^\s:\[\]/]+)):(\d{1,5})", str(text), re.ASCII)
    if match is None or int(match[3]) > 65535:
        msg = f"{text!r} is no address; write host:port, [ipv6]:port or off"
        raise ValueError(msg)
    return Address(match[1] or match[2], int(match[3]))


def _split(value: object) -> object:
    """One string (the environment, a flag) holds a list as `a, b`; TOML has lists of its own."""
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _matching(pattern: re.Pattern[str], meaning: str) -> BeforeValidator:
    def check(value: object) -> object:
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            msg = f"{value!r} is not {meaning}"
            raise ValueError(msg)
        return value

    return BeforeValidator(check)


def _network(value: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(str(value))
    except ValueError as error:
        raise ValueError(f"{error}; write an address or a network such as 10.0.0.0/8") from None


def _endpoint(value: object) -> str:
    if isinstance(value, str) and (value == "own" or _is_https_address(value)):
        return value
    raise ValueError(f"{value!r} is neither `own` nor an address such as https://kms.eu-central-1.amazonaws.com")


def _is_https_address(text: str) -> bool:
    """A host, perhaps with a port, and nothing else."""
    try:
        parts = urlsplit(text)
        return re.fullmatch(r"https://[^/?#@\s]+/?", text) is not None and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port that is none, or half an IPv6 address
        return False


def available_processors() -> int:
    return len(os.sched_getaffinity(0))


_Listen = Annotated[Address | None, NoDecode, BeforeValidator(parse_address)]
_Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
_Domain = Annotated[str, _matching(_DOMAIN, "a domain name in lower case")]


class Settings(BaseSettings):
    """Field descriptions are the documentation's first sentence; docs/operations/settings.md holds the rest, and a
    test holds the two together.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_ignore_empty=True,
        validate_default=False,
        hide_input_in_errors=True,
    )

    listen: _Listen = Field(
        default=Address("127.0.0.1", 9000), description="Where the S3 API answers over plain HTTP, or `off`."
    )
    listen_tls: _Listen = Field(
        default=Address("127.0.0.1", 9443), description="Where the S3 API answers over TLS, or `off`."
    )
    listen_metrics: _Listen = Field(
        default=Address("127.0.0.1", 9002), description="Where Prometheus finds `/metrics`, or `off`."
    )
    kms_listen: _Listen = Field(
        default=Address("127.0.0.1", 9001), description="Where the KMS API answers over plain HTTP, or `off`."
    )
    kms_listen_tls: _Listen = Field(default=None, description="Where the KMS API answers over TLS, or `off`.")
    workers: int = Field(
        default_factory=available_processors, ge=1, le=256, description="How many processes answer requests of S3."
    )
    region: Annotated[str, _matching(_REGION, "a region name")] = Field(
        default="us-east-1", description="The region that this server says it is; clients sign it."
    )
    account_id: Annotated[str, _matching(_ACCOUNT, "an account id of 12 digits")] = Field(
        default="000000000000", description="The account that owns every bucket, 12 digits."
    )
    domain: Annotated[tuple[_Domain, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=(), description="Domain names under which `bucket.domain` addresses a bucket (virtual-host style)."
    )
    tls_certificate: Path | None = Field(
        default=None, description="A certificate chain (PEM) to serve instead of one from the private CA."
    )
    tls_key: Path | None = Field(default=None, description="The private key (PEM) of `tls_certificate`.")
    trusted_proxies: Annotated[tuple[_Network, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=(), description="Addresses or networks of proxies whose word on TLS and on the client is believed."
    )
    stall_timeout: float = Field(
        default=30.0, gt=0, le=3600, description="Seconds without a byte after which a client counts as gone."
    )
    shutdown_grace: float = Field(
        default=10.0, ge=0, le=3600, description="Seconds that running requests get when the server is told to stop."
    )
    deletion_grace: float = Field(
        default=3600.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds that the bytes of a deleted object stay for readers under way.",
    )
    blocks_sse_c_by_default: bool = Field(default=False, description="New buckets refuse SSE-C until told otherwise.")
    store_key_source: Literal["keyfile", "kms", "environment", "credential"] = Field(
        default="keyfile",
        description="Where the store key comes from: `keyfile`, `kms`, `environment` or `credential`.",
    )
    store_key_kms_key: str = Field(
        default="alias/aws/strongroom",
        description="The KMS key under which the store key is sealed, with the source `kms`.",
    )
    kms_endpoint: Annotated[str, BeforeValidator(_endpoint)] = Field(
        default="own", description="The key service that S3 asks: `own`, or the `https://` address of Amazon's."
    )
    bucket_key_window: float = Field(
        default=300.0, ge=0, le=300, description="Seconds that an S3 bucket key is used again without asking the KMS."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Log lines for people (`text`) or for machines (`json`)."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least important message that is logged."
    )

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> "Settings":
        if (self.tls_certificate is None) != (self.tls_key is None):
            msg = "tls_certificate and tls_key go together: set both or neither"
            raise ValueError(msg)
        if self.listen is None and self.listen_tls is None:
            msg = "listen and listen_tls are both off: nothing would answer"
            raise ValueError(msg)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # load() reads every source itself, to say for each wrong setting where it was written.
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One setting as documentation tells it."""

    name: str
    variable: str
    default: str
    description: str


def load(
    data_dir: Path,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """Settings of the server in `data_dir`: flags win over the environment, that over `config` or DIR/strongroom.toml.

    A flag of None was not given. Raises ConfigError.
    """
    file = _from_file(config or data_dir / FILE_NAME, required=config is not None)
    variables = _from_environment(os.environ if environ is None else environ)
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    origin = dict.fromkeys(file, str(config or data_dir / FILE_NAME))
    origin |= {name: f"the environment variable {_variable(name)}" for name in variables}
    origin |= {name: f"the flag --{name.replace('_', '-')}" for name in given}
    try:
        return Settings(**{**file, **variables, **given})
    except ValidationError as error:
        raise ConfigError(_explain(error, origin)) from None


def describe() -> tuple[Described, ...]:
    return tuple(
        Described(
            name=name,
            variable=_variable(name),
            default="the number of processors" if field.default_factory is not None else _as_toml(field.default),
            description=field.description or "",
        )
        for name, field in Settings.model_fields.items()
    )


def _from_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if required:
            raise ConfigError(f"There is no configuration file {path}.") from None
        return {}
    except NotADirectoryError:
        raise ConfigError(f"{path.parent} is a file, and has to be a directory.") from None
    except OSError as error:
        raise ConfigError(f"The configuration file {path} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"The configuration file {path} can't be read: it is not UTF-8 text.") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from None
    _refuse_unknown(values, where=str(path))
    # A relative path in a file is relative to the file, wherever the server was started.
    for name in ("tls_certificate", "tls_key"):
        if isinstance(values.get(name), str):
            values[name] = path.parent / values[name]
    return values


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    names = (name.removeprefix(PREFIX) for name, value in environ.items() if name.startswith(PREFIX) and value.strip())
    wanted = [name for name in names if name not in _NOT_SETTINGS and _SERVICE_LINK.fullmatch(name) is None]
    _refuse_unknown((name.lower() for name in wanted), where="the environment", shown=_variable)
    return {name.lower(): environ[PREFIX + name] for name in wanted}


def _refuse_unknown(names: Iterable[str], *, where: str, shown: Any = str) -> None:
    valid = Settings.model_fields
    for name in names:
        if name not in valid:
            close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
            advice = f"did you mean {shown(close[0])}?" if close else "docs/operations/settings.md lists them all."
            raise ConfigError(f"Unknown setting {shown(name)} in {where}: {advice}")


def _explain(error: ValidationError, origin: Mapping[str, str]) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    reason = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return f"The settings contradict each other: {reason}."
    name = str(first["loc"][0])
    return f"The setting {name} (from {origin.get(name, 'its default')}) is wrong: {reason}."


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _as_toml(value: object) -> str:
    match value:
        case None:
            return "not set"
        case bool():
            return str(value).lower()
        case tuple() if not isinstance(value, Address):
            return "[]"
        case float():
            return f"{value:g}"
        case _:
            return f'"{value}"'
