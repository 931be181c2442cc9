import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from strongroom.config import Address, ConfigError, available_processors, describe, load, parse_address

PAGE = Path(__file__).parents[2] / "docs/operations/settings.md"


def write(directory: Path, text: str) -> Path:
    path = directory / "strongroom.toml"
    path.write_text(text)
    return path


def test_nothing_needs_to_be_set(tmp_path) -> None:
    settings = load(tmp_path, environ={})
    assert settings.listen == Address("127.0.0.1", 9000)
    assert settings.listen_tls == Address("127.0.0.1", 9443)
    assert settings.listen_metrics == Address("127.0.0.1", 9002)
    assert (settings.region, settings.account_id, settings.domain) == ("us-east-1", "000000000000", ())
    assert settings.workers == available_processors()


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path) -> None:
    write(tmp_path, 'region = "file"\nworkers = 2\nlog_level = "error"')
    environ = {"STRONGROOM_REGION": "environment", "STRONGROOM_WORKERS": "3"}
    settings = load(tmp_path, environ=environ, flags={"region": "flag", "workers": None, "listen": None})
    assert (settings.region, settings.workers, settings.log_level) == ("flag", 3, "error")


def test_another_file_can_be_named(tmp_path) -> None:
    write(tmp_path, 'region = "default"')
    other = tmp_path / "other.toml"
    other.write_text('region = "other"')
    assert load(tmp_path, other, {}).region == "other"


def test_a_named_file_must_exist(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration file .*absent\.toml"):
        load(tmp_path, tmp_path / "absent.toml", {})


def test_lists_come_from_toml_and_from_one_string(tmp_path) -> None:
    write(tmp_path, 'domain = ["s3.example.com"]\ntrusted_proxies = ["10.0.0.1", "fd00::/8"]')
    from_file = load(tmp_path, environ={})
    assert from_file.trusted_proxies == (ip_network("10.0.0.1"), ip_network("fd00::/8"))
    environ = {"STRONGROOM_DOMAIN": "a.example, b.example", "STRONGROOM_TRUSTED_PROXIES": "10.0.0.0/8"}
    from_environment = load(tmp_path, environ=environ)
    assert from_environment.domain == ("a.example", "b.example")
    assert from_environment.trusted_proxies == (ip_network("10.0.0.0/8"),)


def test_a_relative_path_is_relative_to_its_file(tmp_path) -> None:
    write(tmp_path, 'tls_certificate = "c.pem"\ntls_key = "/etc/k.pem"')
    settings = load(tmp_path, environ={})
    assert (settings.tls_certificate, settings.tls_key) == (tmp_path / "c.pem", Path("/etc/k.pem"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9000", Address("127.0.0.1", 9000)),
        ("0.0.0.0:0", Address("0.0.0.0", 0)),
        ("[::1]:65535", Address("::1", 65535)),
        ("s3.example.com:443", Address("s3.example.com", 443)),
        ("off", None),
    ],
)
def test_addresses(text, address) -> None:
    assert parse_address(text) == address
    assert address is None or str(address) == text


@pytest.mark.parametrize(
    "text", ["", "9000", ":9000", "::1:9000", "host:", "host:65536", "host:-1", "a b:1", "http://x:1", "x:١"]
)
def test_what_is_no_address_is_refused(text) -> None:
    with pytest.raises(ValueError, match="is no address"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('regoin = "x"', r"Unknown setting regoin in .*strongroom\.toml: did you mean region\?"),
        ("worker = 1", "did you mean workers"),
        ("[zzz]\na = 1", "Unknown setting zzz .*settings.md"),
        ("workers = 0", r"setting workers \(from .*strongroom\.toml\) is wrong: .* greater than or equal to 1"),
        ('workers = "many"', "setting workers .* integer"),
        ('listen = "9000"', "setting listen .* is no address"),
        ("listen = 9000", "setting listen .* is no address"),
        ('account_id = "123"', "setting account_id .* 12 digits"),
        ("account_id = 123456789012", "setting account_id .* 12 digits"),
        ('domain = ["UPPER.example"]', "setting domain .* is not a domain name"),
        ('domain = ["a..b"]', "setting domain"),
        ('trusted_proxies = ["10.0.0.1/8"]', "setting trusted_proxies .* 10.0.0.1/8 has host bits set"),
        (
            'trusted_proxies = ["proxy"]',
            "setting trusted_proxies .* 'proxy' does not appear to be .*; write an address",
        ),
        ("stall_timeout = 0", "setting stall_timeout"),
        ("stall_timeout = nan", "setting stall_timeout"),
        ("deletion_grace = inf", "setting deletion_grace"),
        ('store_key_source = "vault"', "setting store_key_source .*'keyfile', 'kms', 'environment' or 'credential'"),
        ('tls_key = "k.pem"', "tls_certificate and tls_key go together"),
        ('listen = "off"\nlisten_tls = "off"', "nothing would answer"),
        ("a = ", "not valid TOML"),
        ('region = "a"\nregion = "b"', "not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_sentence_that_names_the_setting(tmp_path, text, told) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigError, match=told) as caught:
        load(tmp_path, environ={})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"STRONGROOM_WORKER": "2"}, r"STRONGROOM_WORKER in the environment: did you mean STRONGROOM_WORKERS\?"),
        ({"STRONGROOM_WORKERS": "two"}, r"setting workers \(from the environment variable STRONGROOM_WORKERS\)"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path, environ, told) -> None:
    with pytest.raises(ConfigError, match=told):
        load(tmp_path, environ=environ)


@pytest.mark.parametrize("address", ["own", "https://kms.example", "https://kms.example:8443/", "https://[::1]:443"])
def test_where_the_key_service_is(tmp_path, address) -> None:
    assert load(tmp_path, environ={"STRONGROOM_KMS_ENDPOINT": address}).kms_endpoint == address


@pytest.mark.parametrize(
    "address",
    [
        *("other", "http://kms.example", "https://", "https://kms.example/path", "https://kms.example?x"),
        *("https://somebody@kms.example", "https://kms.example:99999", "https://kms.example:port", "https://[::1"),
        *("https://:443", "https:///", "https://kms example"),
    ],
)
def test_where_no_key_service_can_be(tmp_path, address) -> None:
    with pytest.raises(ConfigError, match=r"kms_endpoint .* is neither `own` nor an address such as"):
        load(tmp_path, environ={"STRONGROOM_KMS_ENDPOINT": address})


@pytest.mark.parametrize(("content", "told"), [(b"\xff\xfe", "it is not UTF-8 text"), (None, "Is a directory")])
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, content, told) -> None:
    path = tmp_path / "strongroom.toml"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^The configuration file {path} can't be read: {told}\\.$"):
        load(tmp_path, environ={})


def test_a_data_directory_that_is_a_file_is_named(tmp_path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(ConfigError, match=f"^{tmp_path}/data is a file, and has to be a directory"):
        load(tmp_path / "data", environ={})


def test_a_wrong_flag_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"setting listen_tls \(from the flag --listen-tls\)"):
        load(tmp_path, environ={}, flags={"listen_tls": "x"})


def test_variables_that_are_no_settings(tmp_path) -> None:
    secrets = {
        "STRONGROOM_ROOT_ACCESS_KEY_ID": "a",
        "STRONGROOM_ROOT_SECRET_ACCESS_KEY": "b",
        "STRONGROOM_STORE_KEY": "c",
        "STRONGROOM_KMS_ROOT_KEY": "d",
        "STRONGROOM_KMS_PASSPHRASE": "e",
    }
    # What Kubernetes sets beside Services called "strongroom" and "strongroom-metrics".
    links = {
        "STRONGROOM_SERVICE_HOST": "10.0.0.1",
        "STRONGROOM_SERVICE_PORT": "9000",
        "STRONGROOM_SERVICE_PORT_S3": "9000",
        "STRONGROOM_PORT": "tcp://10.0.0.1:9000",
        "STRONGROOM_PORT_9000_TCP": "tcp://10.0.0.1:9000",
        "STRONGROOM_PORT_9000_TCP_ADDR": "10.0.0.1",
        "STRONGROOM_METRICS_SERVICE_HOST": "10.0.0.2",
        "STRONGROOM_METRICS_PORT_9002_TCP_PROTO": "tcp",
    }
    assert load(tmp_path, environ={**secrets, **links, "STRONGROOM_REGION": " "}) == load(tmp_path, environ={})


def test_settings_do_not_change(tmp_path) -> None:
    settings = load(tmp_path, environ={})
    with pytest.raises(ValueError, match="frozen"):
        settings.region = "x"


def test_every_setting_is_documented_and_nothing_else() -> None:
    page = PAGE.read_text()
    sections = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert list(sections) == [described.name for described in describe()]
    for described in describe():
        section = sections[described.name]
        assert f"`{described.variable}`" in section
        assert f"Default: `{described.default}`" in section or f"Default: {described.default}." in section
        assert described.description in section
