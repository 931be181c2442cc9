"""The Condition element: every operator of IAM, with IfExists, ForAllValues, ForAnyValue and Null.

A condition is read once into the tests that its values stand for; asking it is a look-up in the request's context. Its
rules are those of IAM's page on condition operators: several values of a policy are alternatives, an operator in the
negative asks that none of them matches and holds where the key is absent. Where AWS says nothing, the reading that
allows less holds: an operator without quantifier meets several values (each must pass to allow, one is enough to deny),
and a negative whose variable has no value allows nothing.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from operator import eq, ge, gt, le, lt
from typing import Any, Literal, Protocol, Self, cast

from strongroom.identity.policy_patterns import (
    Context,
    MalformedPattern,
    Pattern,
    Variable,
    Wildcard,
    parse_pattern,
    split_at_colons,
)

Quantifier = Literal["", "ForAllValues", "ForAnyValue"]


class MalformedCondition(ValueError):
    """Meant for the policy's author."""


class Test(Protocol):
    """What one value of a policy asks of one value of a request."""

    def matches(self, text: str, /) -> bool: ...


class Expected(Protocol):
    """One value of a policy. None: a variable in it has no value."""

    def resolve(self, context: Context, /) -> Test | None: ...


@dataclass(frozen=True, slots=True)
class Constant:
    test: Test

    def resolve(self, _: Context) -> Test:
        return self.test


@dataclass(frozen=True, slots=True)
class Ordered:
    """`read`: gives None for what is no number or date, which matches nothing."""

    compare: Callable[[Any, Any], bool]
    read: Callable[[str], Decimal | None]
    bound: Decimal

    def matches(self, text: str) -> bool:
        value = self.read(text)
        return value is not None and self.compare(value, self.bound)


@dataclass(frozen=True, slots=True)
class Flag:
    value: str

    def matches(self, text: str) -> bool:
        return text.lower() == self.value


@dataclass(frozen=True, slots=True)
class Octets:
    value: bytes

    def matches(self, text: str) -> bool:
        return _octets(text) == self.value


@dataclass(frozen=True, slots=True)
class Network:
    value: IPv4Network | IPv6Network

    def matches(self, text: str) -> bool:
        address = _address(text)
        return address is not None and address in self.value


@dataclass(frozen=True, slots=True)
class ArnPattern:
    """Six components, each matched by itself; or one, which is a variable or `*` and stands for a whole ARN."""

    components: tuple[Pattern, ...]

    def resolve(self, context: Context) -> "ArnGlob | None":
        globs = [component.resolve(context) for component in self.components]
        return None if None in globs else ArnGlob(tuple(glob for glob in globs if glob is not None))


@dataclass(frozen=True, slots=True)
class ArnGlob:
    components: tuple[Test, ...]

    def matches(self, text: str) -> bool:
        found = text.split(":", 5)
        if len(found) != 6 or found[0] != "arn":
            return False
        if len(self.components) == 1:
            return self.components[0].matches(text)
        return all(glob.matches(component) for glob, component in zip(self.components, found, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """`key`: in lower case. `values`: alternatives, at least one. `negated`: none of them may match."""

    operator: str
    quantifier: Quantifier
    if_exists: bool
    negated: bool
    key: str
    values: tuple[Expected, ...]

    def holds(self, context: Context, *, allows: bool) -> bool:
        """`allows`: the statement is an Allow, so that in doubt the condition does not hold."""
        present = context.get(self.key, ())
        tests = [expected.resolve(context) for expected in self.values]
        if self.operator == "Null":
            return self._passes("false" if present else "true", tests, allows=allows)
        # "If the key values in the request resolve to an empty data set (for example, an empty string)" (IAM).
        if not present or (self.quantifier and present == ("",)):
            return self._holds_when_absent()
        every = self.quantifier == "ForAllValues" or (not self.quantifier and allows)
        passes = (self._passes(value, tests, allows=allows) for value in present)
        return all(passes) if every else any(passes)

    def _holds_when_absent(self) -> bool:
        match self.quantifier:
            case "ForAllValues":
                return True
            case "ForAnyValue":
                return self.if_exists
            case _:
                return self.negated or self.if_exists

    def _passes(self, value: str, tests: Iterable[Test | None], *, allows: bool) -> bool:
        if any(test is not None and test.matches(value) for test in tests):
            return not self.negated
        return self.negated and not (allows and None in tests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """`expect`: (text in the policy, whether it may hold variables) to what it asks; raises MalformedCondition."""

    expect: Callable[[str, bool], Expected]
    negated: bool = False

    def negative(self) -> Self:
        return type(self)(expect=self.expect, negated=True)


def parse_condition(name: str, key: str, values: Iterable[str], *, variables: bool) -> Condition:
    """`name`: as it stands in the policy (`ForAllValues:StringLikeIfExists`). Raises MalformedCondition."""
    parts = _NAME.fullmatch(name)
    operator = None if parts is None else OPERATORS.get(parts["operator"])
    if parts is None or operator is None or (parts["operator"] == "Null" and parts["operator"] != name):
        raise MalformedCondition(f"Invalid Condition type : {name}")
    values = tuple(values)
    if not values:
        raise MalformedCondition(f"Missing condition value for {key}")
    if ":" not in key or "${" in key:
        raise MalformedCondition(f"Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.: {key}")
    return Condition(
        operator=parts["operator"],
        quantifier=cast("Quantifier", parts["quantifier"] or ""),
        if_exists=parts["if_exists"] is not None,
        negated=operator.negated,
        key=key.lower(),
        values=tuple(operator.expect(value, variables) for value in values),
    )


_NAME = re.compile(r"(?:(?P<quantifier>ForAllValues|ForAnyValue):)?(?P<operator>[A-Za-z]+?)(?P<if_exists>IfExists)?")


def _malformed(value: str) -> MalformedCondition:
    return MalformedCondition(f"Invalid condition value: {value}")


def _text(*, wildcards: bool = False, ignore_case: bool = False) -> Operator:
    def expect(value: str, variables: bool) -> Expected:
        try:
            return parse_pattern(value, variables=variables, wildcards=wildcards, ignore_case=ignore_case)
        except MalformedPattern:
            raise _malformed(value) from None

    return Operator(expect=expect)


def _arn(value: str, variables: bool) -> Expected:
    try:
        pattern = parse_pattern(value, variables=variables)
    except MalformedPattern:
        raise _malformed(value) from None
    match pattern.pieces:
        case (Variable() | Wildcard.ANY,):
            return ArnPattern((pattern,))
    components = split_at_colons(pattern.pieces, 6)
    if len(components) != 6:
        raise _malformed(value)
    return ArnPattern(tuple(Pattern.of(component) for component in components))


def _ordered(read: Callable[[str], Decimal | None], compare: Callable[[Any, Any], bool]) -> Operator:
    def expect(value: str, _: bool) -> Expected:
        if (bound := read(value)) is None:
            raise _malformed(value)
        return Constant(Ordered(compare, read, bound))

    return Operator(expect=expect)


def _flag(value: str, _: bool) -> Expected:
    if value.lower() not in {"true", "false"}:
        raise _malformed(value)
    return Constant(Flag(value.lower()))


def _binary(value: str, _: bool) -> Expected:
    if (octets := _octets(value)) is None:
        raise _malformed(value)
    return Constant(Octets(octets))


def _ip(value: str, _: bool) -> Expected:
    if (network := _network(value)) is None:
        raise _malformed(value)
    return Constant(Network(network))


def _octets(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?")


def _number(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER.fullmatch(text) else None


# W3C's profile of ISO 8601 (NOTE-datetime), which is what IAM names. Four digits are a year, more are seconds.
_DATE = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]{1,9})?)?(?:Z|([+-])([0-9]{2}):([0-9]{2})))?)?)?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _instant(text: str) -> Decimal | None:
    """Seconds since 1970, of a date or of such a number."""
    if (parts := _DATE.fullmatch(text)) is None:
        return _number(text)
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = parts.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        moment = datetime(
            *(int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0)),
            tzinfo=timezone(-offset if sign == "-" else offset),
        )
    except ValueError:
        return None
    since = moment - _EPOCH
    return Decimal(since.days * 86400 + since.seconds) + Decimal(f"0{fraction or ''}")


_CIDR = re.compile(r"[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?")


def _network(text: str) -> IPv4Network | IPv6Network | None:
    if _CIDR.fullmatch(text) is None:
        return None
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        return network if mapped is None else IPv4Network((mapped, network.prefixlen - 96))
    return network


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An IPv4 address that came over an IPv6 socket is an IPv4 address; a zone says nothing."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _comparisons(kind: str, read: Callable[[str], Decimal | None]) -> dict[str, Operator]:
    equals = _ordered(read, eq)
    return {
        f"{kind}Equals": equals,
        f"{kind}NotEquals": equals.negative(),
        f"{kind}LessThan": _ordered(read, lt),
        f"{kind}LessThanEquals": _ordered(read, le),
        f"{kind}GreaterThan": _ordered(read, gt),
        f"{kind}GreaterThanEquals": _ordered(read, ge),
    }


OPERATORS: Mapping[str, Operator] = {
    "StringEquals": _text(),
    "StringNotEquals": _text().negative(),
    "StringEqualsIgnoreCase": _text(ignore_case=True),
    "StringNotEqualsIgnoreCase": _text(ignore_case=True).negative(),
    "StringLike": _text(wildcards=True),
    "StringNotLike": _text(wildcards=True).negative(),
    **_comparisons("Numeric", _number),
    **_comparisons("Date", _instant),
    "Bool": Operator(expect=_flag),
    "BinaryEquals": Operator(expect=_binary),
    "IpAddress": Operator(expect=_ip),
    "NotIpAddress": Operator(expect=_ip).negative(),
    "ArnEquals": Operator(expect=_arn),
    "ArnLike": Operator(expect=_arn),
    "ArnNotEquals": Operator(expect=_arn).negative(),
    "ArnNotLike": Operator(expect=_arn).negative(),
    "Null": Operator(expect=_flag),
}
