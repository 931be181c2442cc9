"""The evaluator against what it must never do, and its matching against the obvious definition of it."""

import itertools
import json
import random
import re
import string
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.identity.policy import (
    MalformedPolicy,
    Request,
    evaluate_identity,
    evaluate_resource,
    parse_policy,
)
from strongroom.identity.policy_patterns import parse_pattern
from strongroom.identity.root import Principal

ACCOUNT = "123456789012"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
USERS = [f"arn:aws:iam::{ACCOUNT}:user/{name}" for name in ("alice", "bob")]

# Few names, so that statements and requests meet; whole elements to choose from, so that drawing them is cheap.
ACTIONS = ["kms:Decrypt", "kms:Encrypt", "s3:GetObject"]
RESOURCES = ["arn:aws:s3:::b/x", "arn:aws:s3:::b/y", "arn:aws:kms:r:1:key/k"]
KEYS = ["aws:a", "aws:b", "aws:tagkeys"]
VALUES = ["x", "y", "xy", "10", "true"]


def lists(items):
    return [list(chosen) for size in (1, 2) for chosen in itertools.combinations(items, size)]


OPERATORS = [
    *("StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIgnoreCase"),
    *("StringEqualsIfExists", "StringNotEqualsIfExists", "ForAllValues:StringEquals", "ForAnyValue:StringEquals"),
    *("ForAllValues:StringNotEquals", "ForAnyValue:StringNotLike"),
]
ONE_CONDITION = [
    *(
        {operator: {key: values}}
        for operator in OPERATORS
        for key in KEYS
        for values in lists(["x", "y", "x*", "?", "*", "${aws:a}", "${aws:b, 'x'}"])
    ),
    *({"Null": {key: absent}} for key in KEYS for absent in (True, False)),
]
CONDITIONS: st.SearchStrategy[dict[str, Any]] = (
    st.just({})
    | st.sampled_from(ONE_CONDITION)
    | st.tuples(st.sampled_from(ONE_CONDITION), st.sampled_from(ONE_CONDITION)).map(lambda pair: pair[0] | pair[1])
)
ACTION_ELEMENTS = [
    {element: names}
    for element in ("Action", "Action", "NotAction")
    for names in lists([*ACTIONS, "*", "kms:*", "KMS:?ecrypt"])
]
RESOURCE_ELEMENTS = [
    {element: names}
    for element in ("Resource", "Resource", "NotResource")
    for names in lists([*RESOURCES, "*", "arn:aws:s3:::b/*", "arn:aws:s3:::b/${aws:a}"])
]
NAMES = lists(["*", ROOT, ACCOUNT, *USERS])
PRINCIPALS = {
    "Allow": [{"Principal": {"AWS": names}} for names in NAMES],
    "Deny": [{element: {"AWS": names}} for element in ("Principal", "NotPrincipal") for names in NAMES],
}


@st.composite
def statements(draw, *, effects=("Allow", "Allow", "Deny"), principal=False):
    effect = draw(st.sampled_from(effects))
    return {
        "Effect": effect,
        "Condition": dict(draw(CONDITIONS)),
        **draw(st.sampled_from(ACTION_ELEMENTS)),
        **draw(st.sampled_from(RESOURCE_ELEMENTS)),
        **(draw(st.sampled_from(PRINCIPALS[effect])) if principal else {}),
    }


def policy(found, kind="identity"):
    return parse_policy(json.dumps({"Version": "2012-10-17", "Statement": found}), kind=kind)


PRESENT = [(), ("",), *(tuple(values) for values in lists(VALUES)), ("x", "y", "xy")]
REQUESTS = st.builds(
    Request,
    principal=st.sampled_from([Principal(account_id=ACCOUNT, arn=arn) for arn in (ROOT, *USERS)]),
    action=st.sampled_from(ACTIONS),
    resource=st.sampled_from(RESOURCES),
    context=st.fixed_dictionaries({}, optional={key: st.sampled_from(PRESENT) for key in KEYS}),
    service=st.none(),
)


SOME = st.lists(statements(), min_size=1, max_size=4)
SOME_ON_RESOURCE = st.lists(statements(principal=True), min_size=1, max_size=4)


@given(SOME, REQUESTS)
def test_allowed_is_what_some_allow_gives_and_no_deny_takes(found, request):
    """Never more than the union of the Allows, never anything denied, and all of the rest."""
    alone = [(statement["Effect"], evaluate_identity([policy([statement])], request)) for statement in found]
    given_by_some = any(decision.allowed_by is not None for effect, decision in alone if effect == "Allow")
    taken_by_some = any(decision.denied_by is not None for effect, decision in alone if effect == "Deny")
    decision = evaluate_identity([policy(found)], request)
    assert decision.allowed == (given_by_some and not taken_by_some)
    assert decision.allowed_by is None or decision.allowed_by.effect == "Allow"
    assert decision.denied_by is None or decision.denied_by.effect == "Deny"


@given(SOME, REQUESTS, st.randoms(use_true_random=False))
def test_order_and_grouping_mean_nothing(found, request, order: random.Random):
    verdict = evaluate_identity([policy(found)], request).allowed
    shuffled = order.sample(found, len(found))
    assert evaluate_identity([policy(shuffled)], request).allowed == verdict
    assert evaluate_identity([policy([statement]) for statement in shuffled], request).allowed == verdict


@given(SOME, statements(effects=("Deny",)), REQUESTS)
def test_another_deny_never_allows(found, deny, request):
    if evaluate_identity([policy([*found, deny])], request).allowed:
        assert evaluate_identity([policy(found)], request).allowed


@given(SOME, statements(effects=("Allow",)), REQUESTS)
def test_another_allow_never_lifts_a_deny(found, allow, request):
    if evaluate_identity([policy(found)], request).denied_by is not None:
        assert not evaluate_identity([policy([*found, allow])], request).allowed


@given(SOME_ON_RESOURCE, REQUESTS, st.randoms(use_true_random=False))
def test_a_resource_policy_is_the_union_of_its_statements(found, request, order: random.Random):
    alone = [evaluate_resource(policy([statement], "resource"), request) for statement in found]
    shuffled = order.sample(found, len(found))
    for whole in (found, shuffled):
        decision = evaluate_resource(policy(whole, "resource"), request)
        for fact in ("denied_by", "allowed_by", "delegated_by"):
            assert (getattr(decision, fact) is not None) == any(getattr(each, fact) is not None for each in alone)


@given(SOME_ON_RESOURCE, REQUESTS)
def test_who_is_not_named_is_not_allowed(found, request):
    decision = evaluate_resource(policy(found, "resource"), request)
    named = {name for statement in found if statement["Effect"] == "Allow" for name in statement["Principal"]["AWS"]}
    if decision.allowed_by is not None:
        account = {ROOT, ACCOUNT} if request.principal.arn == ROOT else set()
        assert named & {"*", request.principal.arn, *account}
    if decision.delegated_by is not None:
        assert named & {ROOT, ACCOUNT}


@given(CONDITIONS, REQUESTS)
def test_an_allow_with_a_condition_gives_no_more_than_without(condition, request):
    bare = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}
    if evaluate_identity([policy([bare | {"Condition": condition}])], request).allowed:
        assert evaluate_identity([policy([bare])], request).allowed


PATTERN = st.text("ab*?.$", max_size=12)
TEXT = st.text("ab*?.$", max_size=12)


@cache
def reference(pattern, text):
    """The definition, case by case."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return reference(pattern[1:], text) or (bool(text) and reference(pattern, text[1:]))
    return bool(text) and pattern[0] in {"?", text[0]} and reference(pattern[1:], text[1:])


@settings(max_examples=1000)
@given(PATTERN, TEXT)
def test_wildcards_match_as_defined(pattern, text):
    glob = parse_pattern(pattern, variables=True).resolve({})
    assert glob is not None
    assert glob.matches(text) == reference(pattern, text)


@given(st.lists(st.sampled_from(["*", "?", "a", "ü", "\n", "${aws:a}", "${*}", "${$}"]), max_size=8), st.text(), TEXT)
def test_what_a_variable_stands_for_is_literal(pieces, value, text):
    pattern = "".join(pieces)
    glob = parse_pattern(pattern, variables=True).resolve({"aws:a": (value,)})
    expected = "".join(
        {"*": ".*", "?": ".", "${aws:a}": re.escape(value), "${*}": r"\*", "${$}": r"\$"}.get(piece, piece)
        for piece in pieces
    )
    assert glob is not None
    for candidate in (text, pattern.replace("${aws:a}", value).replace("${*}", "*").replace("${$}", "$")):
        assert glob.matches(candidate) == (re.fullmatch(expected, candidate, re.DOTALL) is not None)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["*", "Allow", ROOT]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "Version",
                        "Id",
                        "Statement",
                        "Sid",
                        "Effect",
                        "Principal",
                        "NotPrincipal",
                        "Action",
                        "NotAction",
                    ),
                    *("Resource", "NotResource", "Condition", "AWS", "Service", "StringLike", "Null", "aws:x"),
                ]
            )
            | st.text(string.printable, max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@st.composite
def nearly_policies(draw):
    """A policy with one thing in it replaced by anything."""
    found = draw(SOME_ON_RESOURCE | SOME)
    whole = {"Version": "2012-10-17", "Statement": found}
    place = draw(st.sampled_from([whole, *found, *(statement["Condition"] for statement in found)]))
    name = draw(st.sampled_from(sorted(place)) if place else st.just("StringEquals"))
    place[name] = draw(JSON)
    return json.dumps(whole)


@settings(max_examples=300)
@given(st.text() | JSON.map(json.dumps) | nearly_policies(), st.sampled_from(["identity", "resource"]), REQUESTS)
def test_b7_and_i5_the_reader_takes_or_refuses_whatever_comes(text, kind, request):
    try:
        read = parse_policy(text, kind=kind)
    except MalformedPolicy:
        return
    if kind == "identity":
        evaluate_identity([read], request)
    else:
        evaluate_resource(read, request)
