import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.identity.requester import LONGEST_HEADER, Requester, encode_requester, parse_requester
from strongroom.identity.root import Principal

ARN = "arn:aws:iam::111122223333:user/team/anna"
PERSON = Requester(
    principal=Principal(account_id="111122223333", arn=ARN),
    access_key_id="SRANNA",
    source_ip="2001:db8::1",
    secure_transport=False,
    user_agent="aws-cli/2.0 \x00\u00fc",
    request_id="3F2504E04F8911D3",
)
MEMBERS = {
    "arn": ARN,
    "account": "111122223333",
    "accessKeyId": "SRANNA",
    "sourceIp": "2001:db8::1",
    "secureTransport": False,
    "userAgent": "aws-cli/2.0 \x00\u00fc",
    "requestId": "3F2504E04F8911D3",
}


def header(members: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(members).encode()).decode()


def test_the_header_is_base64url_of_json_with_seven_members() -> None:
    value = encode_requester(PERSON)
    assert json.loads(base64.urlsafe_b64decode(value)) == MEMBERS
    assert parse_requester(value) == PERSON == parse_requester(header(MEMBERS))


@given(
    st.builds(
        replace,
        st.just(PERSON),
        user_agent=st.text(st.characters(max_codepoint=255), max_size=2000),
        source_ip=st.text(st.characters(codec="utf-8"), max_size=64),
        access_key_id=st.text(st.characters(codec="ascii"), min_size=1, max_size=128),
        request_id=st.text(st.characters(codec="ascii"), min_size=1, max_size=128),
        secure_transport=st.booleans(),
    )
)
def test_what_is_written_is_read_and_fits_into_a_header(person: Requester) -> None:
    value = encode_requester(person)
    assert len(value) <= LONGEST_HEADER
    assert value.isascii()
    assert value.isprintable()
    assert parse_requester(value) == replace(person, user_agent=person.user_agent[:512])


@pytest.mark.parametrize(
    "value",
    [
        "",
        "not base64!",
        "\u00e9",
        header(MEMBERS)[:-3],
        header(MEMBERS) + " ",
        "A" * (LONGEST_HEADER + 4),
        base64.urlsafe_b64encode(json.dumps(MEMBERS).encode() + b" " * LONGEST_HEADER).decode(),
        header([]),
        header({}),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        *(header({name: value for name, value in MEMBERS.items() if name != left_out}) for left_out in MEMBERS),
        header({**MEMBERS, "sessionPolicy": "{}"}),
        header({**MEMBERS, "secureTransport": "true"}),
        header({**MEMBERS, "account": "111122223334"}),
        header({**MEMBERS, "account": "11112222333\u0663", "arn": "arn:aws:iam::11112222333\u0663:root"}),
        header({**MEMBERS, "arn": "anna"}),
        header({**MEMBERS, "arn": "arn:aws:iam::111122223333:"}),
        header({**MEMBERS, "arn": "anr:aws:iam::111122223333:root"}),
        header({**MEMBERS, "arn": f"{ARN}{'x' * 2048}"}),
        header({**MEMBERS, "accessKeyId": ""}),
        header({**MEMBERS, "accessKeyId": "x" * 129}),
        header({**MEMBERS, "sourceIp": "1" * 65}),
        header({**MEMBERS, "userAgent": "x" * 513}),
        header({**MEMBERS, "requestId": ""}),
        header({**MEMBERS, "requestId": 5}),
    ],
)
def test_anything_else_is_refused_without_being_repeated(value: str) -> None:
    with pytest.raises(ValueError, match=r"^the requester header [a-z ]+$") as refused:
        parse_requester(value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"user_agent": "another"}, True),
        ({"request_id": "another"}, True),
        ({"access_key_id": "another"}, False),
        ({"source_ip": "::1"}, False),
        ({"secure_transport": True}, False),
        ({"principal": Principal(account_id="111122223333", arn=f"{ARN}2")}, False),
        ({"principal": Principal(account_id="444455556666", arn=ARN)}, False),
    ],
)
def test_standing_is_what_a_policy_may_judge(change: dict[str, object], same: bool) -> None:
    assert (replace(PERSON, **change).standing == PERSON.standing) is same  # type: ignore[arg-type]
