"""Every operator, quantifier and absence; AWS's page "Condition operators" is the source of the expectations."""

import itertools

import pytest

from strongroom.identity.policy_conditions import OPERATORS, MalformedCondition, parse_condition


def holds(operator, expected, *present, effect="Allow", context=None, key="aws:x"):
    """`present`: the values of the request, none for an absent key."""
    values = expected if isinstance(expected, list) else [expected]
    condition = parse_condition(operator, key, values, variables=True)
    return condition.holds({"aws:x": present, **(context or {})}, allows=effect == "Allow")


MATCHES = [
    ("StringEquals", "a", "a", True),
    ("StringEquals", "a", "A", False),
    ("StringEquals", "a*", "ab", False),
    ("StringEquals", "a*", "a*", True),
    ("StringEquals", "", "", True),
    ("StringEquals", ["a", "b"], "b", True),
    ("StringEquals", ["a", "b"], "c", False),
    ("StringEqualsIgnoreCase", "Straße", "STRASSE", False),
    ("StringEqualsIgnoreCase", "aBc", "AbC", True),
    ("StringEqualsIgnoreCase", "a*", "AB", False),
    ("StringLike", "a*c?", "abbbcd", True),
    ("StringLike", "a*c?", "abbbc", False),
    ("StringLike", "A*", "abc", False),
    ("NumericEquals", "10", "10.0", True),
    ("NumericEquals", "10", "11", False),
    ("NumericEquals", "10", "ten", False),
    ("NumericEquals", "10", "1e1", False),
    ("NumericEquals", "0.1", "0.10", True),
    ("NumericLessThan", "10", "9.99", True),
    ("NumericLessThan", "10", "10", False),
    ("NumericLessThan", "10", "-11", True),
    ("NumericLessThan", "10", "", False),
    ("NumericLessThanEquals", "10", "10", True),
    ("NumericLessThanEquals", "10", "10.01", False),
    ("NumericGreaterThan", "10", "10", False),
    ("NumericGreaterThan", "10", "9", False),
    ("NumericGreaterThan", "10", "100", True),
    ("NumericGreaterThan", "9", "10", True),
    ("NumericGreaterThanEquals", "10", "10", True),
    ("NumericGreaterThanEquals", ["10", "5"], "7", True),
    ("DateEquals", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z", True),
    ("DateEquals", "2026-01-02T03:04:05Z", "2026-01-02T04:04:05+01:00", True),
    ("DateEquals", "2026-01-02T03:04:05Z", "1767323045", True),
    ("DateEquals", "2026-01-02T03:04:05.5Z", "1767323045.5", True),
    ("DateEquals", "2026", "2026-01-01", True),
    ("DateEquals", "2026-01", "2026-01-01T00:00Z", True),
    ("DateLessThan", "2026-01-02", "2026-01-01T23:59:59Z", True),
    ("DateLessThan", "2026-01-02", "2026-01-02T00:00:00Z", False),
    ("DateLessThan", "2026-01-02", "yesterday", False),
    ("DateLessThan", "2026-01-02", "2025-13-01", False),
    ("DateLessThanEquals", "2026-01-02", "2026-01-02T00:00:00Z", True),
    ("DateLessThanEquals", "2026-01-02", "2026-01-02T00:00:01Z", False),
    ("DateGreaterThan", "2026-01-02T00:00:00Z", "2026-01-02T00:00:00-00:01", True),
    ("DateGreaterThan", "2026-01-02", "2026-01-02", False),
    ("DateGreaterThanEquals", "1767323045", "2026-01-02T03:04:05Z", True),
    ("DateGreaterThanEquals", "1767323046", "2026-01-02T03:04:05Z", False),
    ("Bool", "true", "true", True),
    ("Bool", "TRUE", "true", True),
    ("Bool", "true", "false", False),
    ("Bool", "false", "false", True),
    ("Bool", "false", "", False),
    ("BinaryEquals", "QmluYXJ5", "QmluYXJ5", True),
    ("BinaryEquals", "QmluYXJ5", "QmluYXJ6", False),
    ("BinaryEquals", "QmluYXJ5", "not base64", False),
    ("IpAddress", "203.0.113.0/24", "203.0.113.255", True),
    ("IpAddress", "203.0.113.0/24", "203.0.114.0", False),
    ("IpAddress", "203.0.113.7", "203.0.113.7", True),
    ("IpAddress", "203.0.113.7", "203.0.113.8", False),
    ("IpAddress", "203.0.113.7/24", "203.0.113.8", True),
    ("IpAddress", "203.0.113.0/24", "::ffff:203.0.113.9", True),
    ("IpAddress", "::ffff:203.0.113.0/120", "203.0.113.9", True),
    ("IpAddress", "2001:DB8:1234:5678::/64", "2001:db8:1234:5678::9", True),
    ("IpAddress", "2001:DB8:1234:5678::/64", "2001:db8:1234:5679::9", False),
    ("IpAddress", "fe80::/10", "fe80::1%eth0", True),
    ("IpAddress", "0.0.0.0/0", "2001:db8::1", False),
    ("IpAddress", "0.0.0.0/0", "unix", False),
    ("IpAddress", ["10.0.0.0/8", "::1"], "::1", True),
    ("ArnLike", "arn:aws:iam::123456789012:user/*", "arn:aws:iam::123456789012:user/a/b", True),
    ("ArnLike", "arn:aws:iam::123456789012:user/?", "arn:aws:iam::123456789012:user/ab", False),
    ("ArnEquals", "arn:aws:iam::*:role/x", "arn:aws:iam::123456789012:role/x", True),
    ("ArnEquals", "arn:*:iam::*:user/a", "arn:aws:iam::123456789012:user/A", False),
    # IAM's own example: a wildcard does not cross a colon.
    (
        "ArnLike",
        "arn:aws:someservice:*:111122223333:finance/*",
        "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt",
        False,
    ),
    (
        "StringLike",
        "arn:aws:someservice:*:111122223333:finance/*",
        "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt",
        True,
    ),
    ("ArnLike", "arn:aws:s3:::b/*", "arn:aws:s3:::b/with:colons:in:it", True),
    ("ArnLike", "*", "arn:aws:s3:::b", True),
    ("ArnLike", "*", "no arn", False),
    ("ArnEquals", "arn:aws:s3:::b", "arn:aws:s3:b", False),
]
NEGATIVES = {
    "StringEquals": "StringNotEquals",
    "StringEqualsIgnoreCase": "StringNotEqualsIgnoreCase",
    "StringLike": "StringNotLike",
    "NumericEquals": "NumericNotEquals",
    "DateEquals": "DateNotEquals",
    "IpAddress": "NotIpAddress",
    "ArnEquals": "ArnNotEquals",
    "ArnLike": "ArnNotLike",
}
BOTH = ["Allow", "Deny"]


@pytest.mark.parametrize("effect", BOTH)
@pytest.mark.parametrize(("operator", "expected", "value", "outcome"), MATCHES)
def test_operator(operator, expected, value, outcome, effect):
    assert holds(operator, expected, value, effect=effect) is outcome
    assert holds(f"{operator}IfExists", expected, value, effect=effect) is outcome
    if value:
        assert holds(f"ForAnyValue:{operator}", expected, value, effect=effect) is outcome
        assert holds(f"ForAllValues:{operator}", expected, value, effect=effect) is outcome


@pytest.mark.parametrize("effect", BOTH)
@pytest.mark.parametrize(("operator", "expected", "value", "outcome"), [row for row in MATCHES if row[0] in NEGATIVES])
def test_the_negative_is_the_opposite(operator, expected, value, outcome, effect):
    """Of several values too: none of them may match."""
    assert holds(NEGATIVES[operator], expected, value, effect=effect) is not outcome
    assert holds(f"{NEGATIVES[operator]}IfExists", expected, value, effect=effect) is not outcome


def test_every_operator_has_a_row():
    rows = {row[0] for row in MATCHES}
    assert set(OPERATORS) == rows | {NEGATIVES[row] for row in rows if row in NEGATIVES} | {"Null"}


SAMPLE = {
    "String": "a",
    "Numeric": "1",
    "Date": "2026-01-01",
    "Bool": "true",
    "Binary": "YQ==",
    "Ip": "10.0.0.1",
    "NotIp": "10.0.0.1",
    "Arn": "arn:aws:s3:::b",
}


@pytest.mark.parametrize("effect", BOTH)
@pytest.mark.parametrize("operator", sorted(set(OPERATORS) - {"Null"}))
def test_an_absent_key(operator, effect):
    """False, true where the operator is in the negative; IfExists is always true and so changes nothing there."""
    sample = next(value for name, value in SAMPLE.items() if operator.startswith(name))
    negative = operator in NEGATIVES.values()
    assert holds(operator, sample, effect=effect) is negative
    assert holds(f"{operator}IfExists", sample, effect=effect)
    assert holds(f"ForAllValues:{operator}", sample, effect=effect)
    assert holds(f"ForAllValues:{operator}IfExists", sample, effect=effect)
    assert not holds(f"ForAnyValue:{operator}", sample, effect=effect)
    assert holds(f"ForAnyValue:{operator}IfExists", sample, effect=effect)


@pytest.mark.parametrize(
    ("expected", "present", "outcome"),
    [
        ("true", (), True),
        ("true", ("x",), False),
        ("true", ("",), False),
        ("false", (), False),
        ("false", ("x",), True),
        ("false", ("x", "y"), True),
        (["true", "false"], (), True),
        (["true", "false"], ("x",), True),
    ],
)
def test_null(expected, present, outcome):
    assert holds("Null", expected, *present) is outcome


# B7 (rustfs GHSA-v9cp-qfw9-9pfp): policy {a, b} against every kind of overlap.
OVERLAPS = [
    # request            ForAll  ForAny  ForAllNot  ForAnyNot
    (("a",), True, True, False, False),
    (("b",), True, True, False, False),
    (("a", "b"), True, True, False, False),
    (("a", "c"), False, True, False, True),
    (("c", "a"), False, True, False, True),
    (("a", "b", "c"), False, True, False, True),
    (("c",), False, False, True, True),
    (("c", "d"), False, False, True, True),
    ((), True, False, True, False),
    (("",), True, False, True, False),
    (("", "a"), False, True, False, True),
]


@pytest.mark.parametrize("effect", BOTH)
@pytest.mark.parametrize(("present", "every", "some", "every_not", "some_not"), OVERLAPS)
def test_b7_quantifiers_of_partly_overlapping_sets(present, every, some, every_not, some_not, effect):
    expected = ["a", "b"]
    assert holds("ForAllValues:StringEquals", expected, *present, effect=effect) is every
    assert holds("ForAnyValue:StringEquals", expected, *present, effect=effect) is some
    assert holds("ForAllValues:StringNotEquals", expected, *present, effect=effect) is every_not
    assert holds("ForAnyValue:StringNotEquals", expected, *present, effect=effect) is some_not


@pytest.mark.parametrize(
    ("present", "allow", "deny", "allow_not", "deny_not"),
    [
        (("a",), True, True, False, False),
        (("c",), False, False, True, True),
        (("a", "b"), True, True, False, False),
        (("a", "c"), False, True, False, True),
        (("c", "d"), False, False, True, True),
    ],
)
def test_b7_several_values_without_a_quantifier_allow_less(present, allow, deny, allow_not, deny_not):
    """AWS says only that such a policy is wrong: every value has to satisfy an Allow, one is enough for a Deny."""
    expected = ["a", "b"]
    assert holds("StringEquals", expected, *present, effect="Allow") is allow
    assert holds("StringEquals", expected, *present, effect="Deny") is deny
    assert holds("StringNotEquals", expected, *present, effect="Allow") is allow_not
    assert holds("StringNotEquals", expected, *present, effect="Deny") is deny_not


def test_keys_are_compared_without_case():
    assert holds("StringEquals", "a", "a", key="AWS:X")


ALICE = {"aws:username": ("alice",)}


@pytest.mark.parametrize(
    ("operator", "expected", "value", "outcome"),
    [
        ("StringEquals", "${aws:username}", "alice", True),
        ("StringEqualsIgnoreCase", "${aws:username}", "ALICE", True),
        ("StringLike", "${aws:username}/*", "alice/x", True),
        ("StringNotEquals", "${aws:username}", "alice", False),
        ("StringNotLike", "${aws:username}/*", "bob/x", True),
        ("ArnLike", "arn:aws:iam::*:user/${aws:username}", "arn:aws:iam::123456789012:user/alice", True),
        ("ArnEquals", "${aws:PrincipalArn, 'arn:aws:s3:::b'}", "arn:aws:s3:::b", True),
        ("StringEquals", "${*}", "*", True),
        ("StringEquals", "${$}{aws:username}", "${aws:username}", True),
    ],
)
def test_variables(operator, expected, value, outcome):
    assert holds(operator, expected, value, context=ALICE) is outcome


@pytest.mark.parametrize("user", ["*", "a*", "?????", "${aws:x}"])
def test_b7_the_value_of_a_variable_is_literal(user):
    context = {"aws:username": (user,)}
    assert not holds("StringLike", "home/${aws:username}", "home/alice", context=context)
    assert holds("StringLike", "home/${aws:username}", f"home/{user}", context=context)
    arn = "arn:aws:iam::123456789012:user/{}"
    assert not holds("ArnLike", arn.format("${aws:username}"), arn.format("alice"), context=context)
    assert holds("ArnLike", arn.format("${aws:username}"), arn.format(user), context=context)


def test_b7_a_colon_in_the_value_of_a_variable_moves_no_component():
    context = {"aws:username": ("iam::123456789012:user/alice",)}
    assert not holds(
        "ArnLike", "arn:aws:${aws:username}:*:*:*", "arn:aws:iam::123456789012:user/alice", context=context
    )


@pytest.mark.parametrize(
    ("operator", "allow", "deny"),
    [
        ("StringEquals", False, False),
        ("StringNotEquals", False, True),
        ("StringNotLike", False, True),
        ("ArnNotLike", False, True),
        ("ForAllValues:StringNotEquals", False, True),
        ("ForAnyValue:StringNotEquals", False, True),
    ],
)
def test_b7_a_variable_without_value_matches_nothing_and_allows_nothing(operator, allow, deny):
    expected = "arn:aws:iam::123456789012:user/${aws:username}"
    assert holds(operator, expected, "arn:aws:iam::123456789012:user/", effect="Allow") is allow
    assert holds(operator, expected, "arn:aws:iam::123456789012:user/", effect="Deny") is deny
    if "Not" in operator:
        # Another of the values matching settles it.
        assert not holds(operator, [expected, "arn:aws:s3:::b"], "arn:aws:s3:::b", effect="Deny")
    else:
        assert holds(operator, [expected, "arn:aws:s3:::b"], "arn:aws:s3:::b", effect="Allow")


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("StringIs", "a"),
        ("stringequals", "a"),
        ("IfExists", "a"),
        ("", "a"),
        ("StringEqualsIfExistsIfExists", "a"),
        ("ForSomeValues:StringEquals", "a"),
        ("forallvalues:StringEquals", "a"),
        ("ForAllValues:ForAnyValue:StringEquals", "a"),
        ("NullIfExists", "true"),
        ("ForAllValues:Null", "true"),
        ("ForAnyValue:Null", "true"),
        ("Null", "maybe"),
        ("Bool", "yes"),
        ("Bool", "${aws:SecureTransport}"),
        ("NumericEquals", "ten"),
        ("NumericEquals", "1e5"),
        ("NumericEquals", "NaN"),
        ("NumericEquals", "Infinity"),
        ("NumericEquals", "1_0"),
        ("NumericEquals", "١"),
        ("NumericEquals", ""),
        ("NumericEquals", "9" * 5000),
        ("NumericEquals", "${aws:EpochTime}"),
        ("DateEquals", "soon"),
        ("DateEquals", "2026-02-30"),
        ("DateEquals", "2026-01-01T00:00:00"),
        ("DateEquals", "0000-01-01"),
        ("DateEquals", "2026-01-01T00:00:00+99:00"),
        ("BinaryEquals", "%%"),
        ("BinaryEquals", "YQ"),
        ("IpAddress", "10.0.0.0/33"),
        ("IpAddress", "10.0.0"),
        ("IpAddress", "10.0.0.0/255.0.0.0"),
        ("IpAddress", "10.*"),
        ("IpAddress", ""),
        ("IpAddress", "fe80::1%eth0"),
        ("ArnLike", "arn:aws:s3"),
        ("ArnLike", "bucket/*"),
        ("ArnLike", ""),
        ("StringEquals", "${"),
        ("StringLike", "${a b"),
    ],
)
def test_what_means_nothing_is_refused(operator, value):
    with pytest.raises(MalformedCondition):
        parse_condition(operator, "aws:x", [value], variables=True)


@pytest.mark.parametrize("key", ["", "SourceIp", "kms:EncryptionContext:${aws:username}"])
def test_a_key_that_is_none_is_refused(key):
    with pytest.raises(MalformedCondition):
        parse_condition("StringEquals", key, ["a"], variables=True)


def test_a_condition_without_values_is_refused():
    with pytest.raises(MalformedCondition):
        parse_condition("StringNotEquals", "aws:x", [], variables=True)


def test_extreme_dates_are_read_without_error():
    for year, offset in itertools.product(("0001", "9999"), ("+23:59", "-23:59")):
        assert holds("DateGreaterThan", "0001-01-01T00:00:00+23:59", f"{year}-12-31T00:00:00{offset}")
