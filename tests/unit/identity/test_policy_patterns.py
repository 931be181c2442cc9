import time

import pytest

from strongroom.identity.policy_patterns import MalformedPattern, parse_pattern, split_at_colons


def matches(pattern, text, context=None, **how):
    glob = parse_pattern(pattern, variables=True, **how).resolve(context or {})
    return None if glob is None else glob.matches(text)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("", "a", False),
        ("a", "a", True),
        ("a", "A", False),
        ("a", "ab", False),
        ("*", "", True),
        ("*", "anything\nat all", True),
        ("**", "", True),
        ("?", "", False),
        ("?", "a", True),
        ("?", "ab", False),
        ("?*", "", False),
        ("?*", "a", True),
        ("*?", "abc", True),
        ("a*", "a", True),
        ("a*", "ba", False),
        ("*a", "ba", True),
        ("*a", "ab", False),
        ("a*c", "abc", True),
        ("a*c", "ac", True),
        ("a*c", "acb", False),
        ("a*b*c", "aXbYbZc", True),
        ("a*b*c", "aXcYb", False),
        ("*ab*ab", "abab", True),
        ("*ab*ab", "ab", False),
        ("*aba", "ababa", True),
        ("a?c", "abc", True),
        ("a?c", "a*c", True),
        ("a?c", "ac", False),
        ("a.c", "abc", False),
        ("[a-z]", "b", False),
        ("a\\*", "a\\x", True),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b/x/y", True),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b", False),
        ("kms:*DataKey*", "kms:GenerateDataKeyPair", True),
        ("ü?*", "üß!", True),
    ],
)
def test_wildcards(pattern, text, expected):
    assert matches(pattern, text) is expected


def test_wildcards_that_are_none_are_themselves():
    assert matches("a*", "a*", wildcards=False)
    assert not matches("a*", "ab", wildcards=False)
    assert not matches("a?", "ab", wildcards=False)


def test_case_is_ignored_only_where_asked():
    assert matches("KMS:dEcrypt*", "kms:DECRYPTed", ignore_case=True)
    assert not matches("KMS:dEcrypt*", "kms:DECRYPTed")


ALICE = {"aws:username": ("alice",), "aws:tagkeys": ("a", "b"), "aws:empty": ()}


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("home/${aws:username}/*", "home/alice/x", True),
        ("home/${aws:username}/*", "home/bob/x", False),
        ("${AWS:UserName}", "alice", True),
        ("${ aws:username }", "alice", True),
        ("${aws:username}${aws:username}", "alicealice", True),
        ("${aws:username, 'guest'}", "alice", True),
        ("${aws:PrincipalTag/team, 'guest'}", "guest", True),
        ("${aws:PrincipalTag/my team,''}x", "x", True),
        ("${aws:PrincipalTag/team}", "", None),
        ("${aws:tagkeys}", "a", None),
        ("${aws:tagkeys, 'x'}", "x", None),
        ("${aws:empty}", "", None),
        ("${aws:empty, 'x'}", "x", True),
        ("${*}", "*", True),
        ("${*}", "x", False),
        ("${?}", "?", True),
        ("${?}", "x", False),
        ("${$}{aws:username}", "${aws:username}", True),
        ("$", "$", True),
        ("$*", "$x", True),
        ("{}", "{}", True),
    ],
)
def test_variables(pattern, text, expected):
    assert matches(pattern, text, ALICE) is expected


@pytest.mark.parametrize("value", ["*", "?", "a*", "${aws:userid}", "x/../*", "[a]"])
def test_b7_the_value_of_a_variable_is_literal(value):
    context = {"aws:username": (value,), "aws:userid": ("root",)}
    assert matches("home/${aws:username}/*", f"home/{value}/x", context)
    assert not matches("home/${aws:username}/*", "home/bob/x", context)
    assert not matches("home/${aws:username}/*", "home/root/x", context)
    assert matches("${aws:PrincipalTag/x, '*'}", "*")
    assert not matches("${aws:PrincipalTag/x, '*'}", "bob")


@pytest.mark.parametrize(
    "pattern", ["${", "a${b", "${}", "${ }", "${a, b}", "${a, 'b}", "${a'b}", "${${aws:username}}", "${a, 'b'c}"]
)
def test_a_variable_that_is_not_well_formed_is_refused(pattern):
    with pytest.raises(MalformedPattern):
        parse_pattern(pattern, variables=True)


def test_without_variables_their_marks_are_text_and_wildcards_still_count():
    glob = parse_pattern("${aws:username}${*}", variables=False).resolve(ALICE)
    assert glob is not None
    assert glob.matches("${aws:username}${anything}")
    assert not glob.matches("alice*")


def test_a_pattern_is_cut_at_its_own_colons_only():
    pieces = parse_pattern("a:${b}c:*d:e:f", variables=True).pieces
    assert [len(part) for part in split_at_colons(pieces, 3)] == [1, 2, 2]
    assert split_at_colons(parse_pattern("::", variables=True).pieces, 6) == [[], [], []]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("*a" * 10_000 + "b", "a" * 10_000),
        ("*a?" * 5_000 + "b", "a" * 20_000),
        ("*" + "a" * 10_000 + "?b", "a" * 20_000),
        ("*" * 30_000, "a" * 100_000),
    ],
)
def test_no_pattern_makes_matching_slow(pattern, text):
    glob = parse_pattern(pattern, variables=True).resolve({})
    assert glob is not None
    before = time.process_time()
    glob.matches(text)
    assert time.process_time() - before < 2


@pytest.mark.parametrize(
    "text", ["${" * 15_000, "${" * 15_000 + "}", "${a}" * 7_000 + "${" * 5_000, "${a" + " " * 30_000 + "b,}"]
)
def test_no_text_is_slow_to_read(text):
    before = time.process_time()
    with pytest.raises(MalformedPattern):
        parse_pattern(text, variables=True)
    assert time.process_time() - before < 1


def test_a_policy_full_of_patterns_is_not_slow_either():
    """Somebody who may put a key policy, and then sends a long encryption context, must not stop the service."""
    globs = [parse_pattern(f"*a{number}*b?c*d", variables=True).resolve({}) for number in range(600)]
    before = time.process_time()
    assert not any(glob is None or glob.matches("x" * 100_000) for glob in globs)
    assert time.process_time() - before < 2


@pytest.mark.parametrize(
    "pattern",
    [
        "?" + "${a}" * 5_000,
        "*?" + "${a}" * 5_000 + "*",
        "*".join(["b?${a}?b"] * 1_000),
        "*" + "?".join(["${b}"] * 5_000) + "d*",
        "*" + "?".join("a" * length for length in range(1, 250)) + "*b",
    ],
)
def test_no_value_of_a_variable_makes_matching_slow(pattern):
    """Its text is the policy's, but what its variables stand for is new with each request."""
    context = {"a": ("a" * 8_000,), "b": ("a",)}
    before = time.process_time()
    glob = parse_pattern(pattern, variables=True).resolve(context)
    assert glob is not None
    assert not glob.matches("a" * 16_000 + "c")
    assert time.process_time() - before < 0.5
