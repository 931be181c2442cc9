from types import MappingProxyType

import pytest

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.authorize import (
    CROSS_ACCOUNT_ACTIONS,
    UNKNOWN_KEY_OF_CIPHERTEXT,
    authorize,
    authorize_account,
    authorize_retirement,
)
from tests.unit.kms.authorization import (
    ACCOUNT,
    ALICE,
    ALLOW_ALL,
    BOB,
    DELEGATION,
    FOREIGNER,
    KEY_ARN,
    OTHER_ACCOUNT,
    ROOT,
    call,
    grant,
    identity,
    key,
    kms,
    statement,
)

NO_IDENTITY = "because no identity-based policy allows the kms:Decrypt action"
NO_RESOURCE = "because no resource-based policy allows the kms:Decrypt action"
DENIED_BY_KEY = "with an explicit deny in a resource-based policy"
DENIED_BY_IAM = "with an explicit deny in an identity-based policy"

DENY_ALICE = statement(ALICE, "Deny", "kms:Decrypt", Sid="no")
KEY_NAMES_ALICE = statement(ALICE, Sid="direct")
IAM_DENIES = identity(statement(effect="Deny", action="kms:De*", Sid="iamno"))
GRANT = grant(ALICE, "Decrypt")


def verdict(statements=(), policies=(), grants=(), *, arn=ALICE, **asked):
    """What gives leave, or the end of the refusal's text."""
    subject = key(*statements) if statements else key(statement(BOB))
    try:
        return str(authorize(call("Decrypt", arn), kms(*grants), subject, policies=policies, **asked))
    except KmsError as caught:
        error = caught
    assert (error.code, error.status) == ("AccessDeniedException", 400)
    start = f"User: {arn} is not authorized to perform: kms:Decrypt on resource: {KEY_ARN} "
    assert error.message is not None
    assert error.message.startswith(start)
    return error.message.removeprefix(start)


@pytest.mark.parametrize(
    ("statements", "policies", "grants", "expected"),
    [
        # 2: named by the key policy, no identity policy needed
        ([KEY_NAMES_ALICE], [], [], "key policy direct"),
        ([statement("*", Sid="all")], [], [], "key policy all"),
        ([statement({"AWS": "*"}, Sid="all")], [], [], "key policy all"),
        ([statement(BOB), statement(ALICE)], [], [], "key policy #2"),
        # 3: delegation to the account, taken up by an identity policy
        ([DELEGATION], ALLOW_ALL, [], "identity policy iam"),
        ([DELEGATION], [], [], NO_IDENTITY),
        ([DELEGATION], identity(statement(action="kms:Encrypt")), [], NO_IDENTITY),
        ([DELEGATION], identity(statement(Resource="arn:aws:kms:*:*:key/other")), [], NO_IDENTITY),
        ([DELEGATION], identity(statement(Resource=KEY_ARN, Sid="x")), [], "identity policy x"),
        ([statement(ACCOUNT, action="kms:Dec*")], ALLOW_ALL, [], "identity policy iam"),
        ([statement(ROOT, action="kms:Encrypt")], ALLOW_ALL, [], NO_RESOURCE),
        # without it identity policies have no effect at all
        ([statement(BOB)], ALLOW_ALL, [], NO_RESOURCE),
        ([statement(ALICE, action="kms:Encrypt")], ALLOW_ALL, [], NO_RESOURCE),
        # 4: a grant needs neither
        ([statement(BOB)], [], [GRANT], f"grant {GRANT.grant_id}"),
        ([DELEGATION], [], [GRANT], f"grant {GRANT.grant_id}"),
        ([statement(BOB)], [], [grant(BOB, "Decrypt")], NO_RESOURCE),
        ([statement(BOB)], [], [grant(ALICE, "Encrypt")], NO_RESOURCE),
        # 1: a Deny anywhere wins over all of it
        ([DENY_ALICE, KEY_NAMES_ALICE], [], [], DENIED_BY_KEY),
        ([KEY_NAMES_ALICE, DENY_ALICE], ALLOW_ALL, [GRANT], DENIED_BY_KEY),
        ([DELEGATION, DENY_ALICE], ALLOW_ALL, [], DENIED_BY_KEY),
        ([DELEGATION, statement(ROOT, "Deny")], ALLOW_ALL, [], DENIED_BY_KEY),
        ([KEY_NAMES_ALICE, statement("*", "Deny")], [], [GRANT], DENIED_BY_KEY),
        ([KEY_NAMES_ALICE], IAM_DENIES, [], DENIED_BY_IAM),
        ([DELEGATION], [*ALLOW_ALL, *IAM_DENIES], [], DENIED_BY_IAM),
        ([statement(BOB)], IAM_DENIES, [GRANT], DENIED_BY_IAM),
        ([statement(BOB)], IAM_DENIES, [], DENIED_BY_IAM),
        ([DENY_ALICE], IAM_DENIES, [], DENIED_BY_KEY),
        # 6
        ([statement(BOB)], [], [], NO_RESOURCE),
    ],
)
def test_decision(statements, policies, grants, expected):
    assert verdict(statements, policies, grants) == expected


@pytest.mark.parametrize(
    ("statements", "policies", "expected"),
    [
        ([DELEGATION], [], "key policy account"),
        ([statement(ACCOUNT, Sid="number")], [], "key policy number"),
        ([statement(ALICE)], [], NO_RESOURCE),
        ([statement(ALICE)], ALLOW_ALL, NO_RESOURCE),
        ([DELEGATION, statement(ROOT, "Deny", "kms:Decrypt")], [], DENIED_BY_KEY),
    ],
)
def test_the_root_user_has_no_right_that_the_key_policy_does_not_give(statements, policies, expected):
    assert verdict(statements, policies, arn=ROOT) == expected


def test_a_statement_that_lacks_an_element_gives_nothing():
    lacking = statement(ALICE)
    del lacking["Resource"]
    assert verdict([lacking]) == NO_RESOURCE


def test_a_refusal_to_somebody_who_named_no_key_reveals_nothing():
    for statements, policies in (
        ([statement(BOB)], []),
        ([DENY_ALICE], []),
        ([DELEGATION], []),
        ([DELEGATION], IAM_DENIES),
    ):
        with pytest.raises(KmsError) as caught:
            authorize(call(), kms(), key(*statements), policies=policies, refusal=UNKNOWN_KEY_OF_CIPHERTEXT)
        assert caught.value.code == "AccessDeniedException"
        assert caught.value.message == UNKNOWN_KEY_OF_CIPHERTEXT
        assert caught.value.reason is not None
        assert KEY_ARN in caught.value.reason


def test_the_halves_of_re_encrypt_are_asked_by_name_and_context():
    subject = key(
        statement(
            ALICE,
            action="kms:ReEncryptFrom",
            Condition={
                "StringEquals": {"kms:EncryptionContext:App": "one", "kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}
            },
        ),
        statement(
            ALICE,
            action="kms:ReEncryptTo",
            Condition={
                "StringEquals": {"kms:EncryptionContext:App": "two"},
                "Bool": {"kms:ReEncryptOnSameKey": "true"},
            },
        ),
    )
    re_encrypt = call("ReEncrypt", SourceEncryptionContext={"App": "one"}, DestinationEncryptionContext={"App": "two"})

    def ask(half, app, same):
        authorize(
            re_encrypt,
            kms(),
            subject,
            policies=[],
            action=f"kms:ReEncrypt{half}",
            encryption_context={"App": app},
            on_same_key=same,
        )

    ask("From", "one", same=True)
    ask("To", "two", same=True)
    for half, app, same in (("From", "two", True), ("To", "one", True), ("To", "two", False)):
        with pytest.raises(KmsError, match=f"allows the kms:ReEncrypt{half} action"):
            ask(half, app, same=same)


class TestGrants:
    @pytest.mark.parametrize(
        ("constraints", "context", "covered"),
        [
            ({}, {}, True),
            ({}, {"a": "1"}, True),
            ({"equals": {"a": "1", "b": "2"}}, {"b": "2", "a": "1"}, True),
            ({"equals": {"a": "1"}}, {"a": "1", "b": "2"}, False),
            ({"equals": {"a": "1"}}, {"A": "1"}, False),
            ({"equals": {"a": "1"}}, {"a": "2"}, False),
            ({"equals": {"a": "1"}}, {}, False),
            ({"equals": {}}, {"a": "1"}, False),
            ({"subset": {"a": "1"}}, {"a": "1", "b": "2"}, True),
            ({"subset": {"a": "1"}}, {"a": "1"}, True),
            ({"subset": {"a": "1"}}, {"b": "1"}, False),
            ({"subset": {"a": "1"}}, {"a": "2"}, False),
            ({"subset": {"a": "1"}}, {"a": "11"}, False),
            ({"subset": {"a": "bc"}}, {"ab": "c"}, False),
            ({"source_arn": "arn:aws:s3:::b"}, {}, False),
        ],
    )
    @pytest.mark.parametrize("operation", ["Decrypt", "GenerateDataKey", "Encrypt"])
    def test_constraints(self, constraints, context, covered, operation):
        given = grant(ALICE, operation, **constraints)
        asked = call(operation, EncryptionContext=context)
        if covered:
            assert authorize(asked, kms(given), key(DELEGATION), policies=[]).given_by == "grant"
        else:
            with pytest.raises(KmsError):
                authorize(asked, kms(given), key(DELEGATION), policies=[])

    @pytest.mark.parametrize("operation", ["DescribeKey"])
    def test_constraints_are_not_applied_where_there_is_no_context(self, operation):
        given = grant(ALICE, operation, equals={"a": "1"})
        assert authorize(call(operation), kms(given), key(DELEGATION), policies=[]).given_by == "grant"

    def test_the_halves_of_re_encrypt_are_granted_one_by_one(self):
        given = kms(grant(ALICE, "ReEncryptFrom"))
        asked = call("ReEncrypt")
        authorize(asked, given, key(DELEGATION), policies=[], action="kms:ReEncryptFrom", encryption_context={})
        with pytest.raises(KmsError):
            authorize(asked, given, key(DELEGATION), policies=[], action="kms:ReEncryptTo", encryption_context={})

    def test_any_of_several_grants_may_cover_a_call(self):
        narrow = grant(ALICE, "Decrypt", grant_id="11" * 32, equals={"a": "1"})
        wide = grant(ALICE, "Decrypt", grant_id="22" * 32)
        permission = authorize(call(), kms(narrow, wide), key(DELEGATION), policies=[])
        assert permission.name == wide.grant_id

    def test_a_grant_on_another_key_covers_nothing(self):
        with pytest.raises(KmsError):
            authorize(call(), kms(grant(ALICE, key_id="other")), key(DELEGATION), policies=[])

    def test_a_grant_to_the_account_is_taken_up_by_identity_policies(self):
        given, subject = kms(grant(ROOT, "Decrypt")), key(statement(BOB))
        assert authorize(call(), given, subject, policies=ALLOW_ALL).given_by == "grant"
        assert authorize(call(arn=ROOT), given, subject, policies=[]).given_by == "grant"
        with pytest.raises(KmsError):
            authorize(call(), given, subject, policies=[])

    @pytest.mark.parametrize(
        ("parent", "operations", "constraints", "covered"),
        [
            ({}, ["Decrypt"], {}, True),
            ({}, ["Decrypt", "CreateGrant"], {}, True),
            ({}, ["Encrypt"], {}, False),
            ({}, ["Decrypt", "Encrypt"], {}, False),
            ({}, ["Decrypt"], {"EncryptionContextEquals": {"a": "1"}}, True),
            ({"subset": {"a": "1"}}, ["Decrypt"], {}, False),
            ({"subset": {"a": "1"}}, ["Decrypt"], {"EncryptionContextSubset": {}}, False),
            ({"subset": {"a": "1"}}, ["Decrypt"], {"EncryptionContextSubset": {"a": "1"}}, True),
            ({"subset": {"a": "1"}}, ["Decrypt"], {"EncryptionContextSubset": {"a": "1", "b": "2"}}, True),
            ({"subset": {"a": "1"}}, ["Decrypt"], {"EncryptionContextEquals": {"a": "1"}}, True),
            ({"subset": {"a": "1"}}, ["Decrypt"], {"EncryptionContextEquals": {"a": "1", "b": "2"}}, True),
            ({"subset": {"a": "1"}}, ["Decrypt"], {"EncryptionContextSubset": {"b": "2"}}, False),
            ({"subset": {"a": "1"}}, ["Decrypt"], {"EncryptionContextEquals": {"a": "2"}}, False),
            ({"subset": {"a": "1", "b": "2"}}, ["Decrypt"], {"EncryptionContextSubset": {"a": "1"}}, False),
            ({"equals": {"a": "1"}}, ["Decrypt"], {"EncryptionContextEquals": {"a": "1"}}, True),
            ({"equals": {"a": "1"}}, ["Decrypt"], {"EncryptionContextEquals": {"a": "1", "b": "2"}}, False),
            ({"equals": {"a": "1"}}, ["Decrypt"], {"EncryptionContextSubset": {"a": "1"}}, False),
            ({"equals": {"a": "1"}}, ["Decrypt"], {}, False),
            ({"source_arn": "arn:aws:s3:::b"}, ["Decrypt"], {}, False),
            ({"source_arn": "arn:aws:s3:::b"}, ["Decrypt"], {"SourceArn": "arn:aws:s3:::b"}, True),
        ],
    )
    def test_b1_a_grant_made_by_leave_of_a_grant_is_no_wider(self, parent, operations, constraints, covered):
        """minio GHSA-jjjj-jwhf-8rgr: no sequence of calls yields more than the caller has."""
        given = kms(grant(ALICE, "Decrypt", "CreateGrant", **parent))
        asked = call("CreateGrant", GranteePrincipal=BOB, Operations=operations, Constraints=constraints)
        if covered:
            assert authorize(asked, given, key(statement(BOB)), policies=[]).given_by == "grant"
        else:
            with pytest.raises(KmsError):
                authorize(asked, given, key(statement(BOB)), policies=[])
        # Whom a policy lets create grants is not bound by the grant.
        assert authorize(asked, given, key(KEY_NAMES_ALICE), policies=[]).given_by == "key policy"

    def test_several_parents_do_not_add_up(self):
        given = kms(
            grant(ALICE, "CreateGrant", "Decrypt", grant_id="11" * 32),
            grant(ALICE, "CreateGrant", "Encrypt", grant_id="22" * 32),
        )
        asked = call("CreateGrant", GranteePrincipal=BOB, Operations=["Decrypt", "Encrypt"])
        with pytest.raises(KmsError):
            authorize(asked, given, key(statement(BOB)), policies=[])


class TestRetirement:
    @pytest.mark.parametrize(
        ("arn", "fields", "statements", "policies", "expected"),
        [
            (ALICE, {"retiring": ALICE}, [statement(BOB)], [], "grant"),
            (ALICE, {"retiring": BOB}, [statement(BOB)], [], None),
            (ALICE, {"operations": ("Decrypt", "RetireGrant")}, [statement(BOB)], [], "grant"),
            (ALICE, {"operations": ("Decrypt",)}, [statement(BOB)], [], None),
            (BOB, {"operations": ("Decrypt", "RetireGrant")}, [statement(ALICE)], [], None),
            (ROOT, {}, [statement(BOB)], [], "grant"),
            (BOB, {}, [DELEGATION], ALLOW_ALL, "identity policy"),
            (BOB, {}, [DELEGATION], [], None),
            (BOB, {}, [statement(BOB)], [], "key policy"),
            (ALICE, {"retiring": ALICE}, [statement(ALICE, "Deny", "kms:RetireGrant")], [], None),
            (ALICE, {"retiring": ALICE}, [DELEGATION], identity(statement(effect="Deny")), None),
            (ALICE, {"operations": ("RetireGrant",), "equals": {"a": "1"}}, [statement(BOB)], [], "grant"),
        ],
    )
    def test_who_may_retire(self, arn, fields, statements, policies, expected):
        given = grant(ALICE, **fields)
        asked = call("RetireGrant", arn, GrantId=given.grant_id)
        subject = key(*statements)
        if expected is None:
            with pytest.raises(KmsError) as caught:
                authorize_retirement(asked, kms(given), subject, given, policies=policies)
            assert caught.value.code == "AccessDeniedException"
        else:
            permission = authorize_retirement(asked, kms(given), subject, given, policies=policies)
            assert permission.given_by == expected

    @pytest.mark.parametrize("policies", [[], ALLOW_ALL])
    @pytest.mark.parametrize("grantee", [ALICE, ROOT])
    def test_another_grant_with_retire_grant_does_not_help(self, grantee, policies):
        mine = grant(grantee, "RetireGrant", grant_id="11" * 32)
        other = grant(BOB, "Decrypt", "RetireGrant", grant_id="22" * 32)
        known = kms(mine, other)
        with pytest.raises(KmsError) as caught:
            authorize_retirement(call("RetireGrant"), known, key(statement(BOB)), other, policies=policies)
        assert caught.value.code == "AccessDeniedException"
        if grantee == ALICE or policies:  # a grant to the account leaves it to identity policies
            permission = authorize_retirement(call("RetireGrant"), known, key(statement(BOB)), mine, policies=policies)
            assert (permission.given_by, permission.name) == ("grant", mine.grant_id)


class TestOtherAccounts:
    FOREIGN_ROOT = f"arn:aws:iam::{OTHER_ACCOUNT}:root"

    @pytest.mark.parametrize(
        ("statements", "policies", "grants", "operation", "expected"),
        [
            ([statement(FOREIGNER)], ALLOW_ALL, [], "Decrypt", "key policy"),
            ([statement(FOREIGN_ROOT)], ALLOW_ALL, [], "Decrypt", "key policy"),
            ([statement("*")], ALLOW_ALL, [], "Decrypt", "key policy"),
            ([statement(FOREIGNER)], [], [], "Decrypt", None),
            ([statement(FOREIGN_ROOT)], [], [], "Decrypt", None),
            ([statement("*")], [], [], "Decrypt", None),
            ([DELEGATION], ALLOW_ALL, [], "Decrypt", None),
            ([statement(BOB)], ALLOW_ALL, [grant(FOREIGNER, "Decrypt")], "Decrypt", "grant"),
            ([statement(BOB)], [], [grant(FOREIGNER, "Decrypt")], "Decrypt", None),
            ([statement(FOREIGNER), statement(FOREIGNER, "Deny")], ALLOW_ALL, [], "Decrypt", None),
            ([statement(FOREIGNER)], identity(statement(), statement(effect="Deny")), [], "Decrypt", None),
            ([statement(FOREIGNER)], ALLOW_ALL, [], "DescribeKey", "key policy"),
            ([statement(FOREIGNER)], ALLOW_ALL, [], "PutKeyPolicy", None),
            ([statement(FOREIGNER)], ALLOW_ALL, [], "ScheduleKeyDeletion", None),
            ([statement("*")], ALLOW_ALL, [], "GetKeyPolicy", None),
            ([statement(FOREIGNER)], ALLOW_ALL, [], "EnableKey", None),
        ],
    )
    def test_both_accounts_have_to_agree(self, statements, policies, grants, operation, expected):
        asked = call(operation, FOREIGNER)
        if expected is None:
            with pytest.raises(KmsError) as caught:
                authorize(asked, kms(*grants), key(*statements), policies=policies)
            assert caught.value.code == "AccessDeniedException"
        else:
            assert authorize(asked, kms(*grants), key(*statements), policies=policies).given_by == expected

    def test_nothing_of_the_account_itself_is_theirs(self):
        with pytest.raises(KmsError):
            authorize_account(call("CreateKey", FOREIGNER), kms(), policies=ALLOW_ALL)
        with pytest.raises(KmsError):
            authorize_account(call("ListKeys", self.FOREIGN_ROOT), kms(), policies=ALLOW_ALL)

    def test_no_management_is_among_their_actions(self):
        for operation in ("PutKeyPolicy", "DisableKey", "TagResource", "CreateAlias", "ListKeyPolicies", "UpdateAlias"):
            assert f"kms:{operation}" not in CROSS_ACCOUNT_ACTIONS


class TestWithoutKey:
    @pytest.mark.parametrize(
        "operation", ["CreateKey", "ListKeys", "ListAliases", "GenerateRandom", "ListRetirableGrants"]
    )
    def test_identity_policies_alone_decide(self, operation):
        asked = call(operation)
        assert str(authorize_account(asked, kms(), policies=ALLOW_ALL)) == "identity policy iam"
        with pytest.raises(KmsError) as caught:
            authorize_account(asked, kms(), policies=[])
        assert caught.value.code == "AccessDeniedException"
        assert caught.value.message == (
            f"User: {ALICE} is not authorized to perform: kms:{operation} "
            f"because no identity-based policy allows the kms:{operation} action"
        )
        with pytest.raises(KmsError, match=DENIED_BY_IAM):
            authorize_account(asked, kms(), policies=[*ALLOW_ALL, *identity(statement(effect="Deny"))])

    def test_the_root_user_may_all_that_concerns_no_key(self):
        assert str(authorize_account(call("CreateKey", ROOT), kms(), policies=[])) == "root user"
        with pytest.raises(KmsError):
            authorize_account(call("CreateKey", ROOT), kms(), policies=identity(statement(effect="Deny")))

    def test_a_right_on_keys_is_none_on_the_account(self):
        with pytest.raises(KmsError):
            authorize_account(call("CreateKey"), kms(), policies=identity(statement(Resource="arn:aws:kms:*:*:key/*")))

    def test_an_alias_is_a_resource_of_identity_policies(self):
        alias = f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/mine"
        mine = identity(statement(action="kms:CreateAlias", Resource=alias))
        asked = call("CreateAlias", AliasName="alias/mine", TargetKeyId="x")
        assert authorize_account(asked, kms(), policies=mine, resource=alias).given_by == "identity policy"
        other = alias.replace("mine", "other")
        with pytest.raises(KmsError) as caught:
            authorize_account(asked, kms(), policies=mine, resource=other)
        assert caught.value.message == (
            f"User: {ALICE} is not authorized to perform: kms:CreateAlias on resource: {other} "
            "because no identity-based policy allows the kms:CreateAlias action"
        )

    def test_tags_of_a_new_key_are_asked_for_as_tags(self):
        asked = call("CreateKey", Tags=[{"TagKey": "team", "TagValue": "red"}])
        red = identity(statement(action="kms:TagResource", Condition={"StringEquals": {"aws:RequestTag/team": "red"}}))
        assert authorize_account(asked, kms(), policies=red, action="kms:TagResource")
        with pytest.raises(KmsError, match="kms:CreateKey"):
            authorize_account(asked, kms(), policies=red)


class TestService:
    """The S3 service's own credential, asking for itself."""

    CONTEXT = MappingProxyType({"aws:s3:arn": "arn:aws:s3:::bucket"})

    def ask(self, operation="Decrypt", context=CONTEXT, *, arn=ROOT, statements=(DELEGATION,), service=True, **asked):
        return authorize(
            call(operation, arn, is_service=True, EncryptionContext=context),
            kms(grant(arn, "Decrypt")),
            key(*statements, service=service),
            policies=ALLOW_ALL,
            **asked,
        )

    def test_it_may_use_the_keys_that_were_made_for_it(self):
        for operation in ("Decrypt", "Encrypt", "GenerateDataKey"):
            assert str(self.ask(operation)) == "service s3.amazonaws.com"
        for action in ("kms:ReEncryptFrom", "kms:ReEncryptTo"):
            assert self.ask("ReEncrypt", action=action, encryption_context=self.CONTEXT)
        assert self.ask("DescribeKey", {})

    @pytest.mark.parametrize("arn", [ROOT, ALICE])
    def test_it_has_no_other_right_whosever_arn_it_bears(self, arn):
        with pytest.raises(KmsError):
            self.ask(service=False, arn=arn, statements=(DELEGATION, statement(arn), statement("*")))
        for context in ({}, {"a": "b"}, {"AWS:S3:ARN": "x"}):
            with pytest.raises(KmsError):
                self.ask(context=context, arn=arn)
        for operation in ("PutKeyPolicy", "CreateGrant", "GetKeyPolicy", "ScheduleKeyDeletion", "GenerateDataKeyPair"):
            with pytest.raises(KmsError):
                self.ask(operation, arn=arn)
        with pytest.raises(KmsError):
            authorize_account(call("GenerateRandom", arn, is_service=True), kms(), policies=ALLOW_ALL)
        given = grant(arn, "RetireGrant", retiring=arn)
        with pytest.raises(KmsError):
            authorize_retirement(
                call("RetireGrant", arn, is_service=True), kms(given), key(DELEGATION), given, policies=ALLOW_ALL
            )

    def test_a_deny_that_names_it_wins(self):
        with pytest.raises(KmsError, match=DENIED_BY_KEY):
            self.ask(statements=(statement({"Service": "s3.amazonaws.com"}, "Deny"),))


class TestOnBehalf:
    """S3 asking for a person: the person is judged."""

    VIA = "s3.us-east-1.amazonaws.com"

    def test_the_managed_key_serves_whom_s3_asks_for_and_nobody_directly(self):
        managed = key(
            statement(
                {"AWS": "*"},
                Sid="s3",
                Condition={"StringEquals": {"kms:CallerAccount": ACCOUNT, "kms:ViaService": self.VIA}},
            )
        )
        assert str(authorize(call(via_service=self.VIA), kms(), managed, policies=[])) == "key policy s3"
        for asked in (call(), call(arn=ROOT), call(via_service="s3.eu-west-1.amazonaws.com")):
            with pytest.raises(KmsError):
                authorize(asked, kms(), managed, policies=ALLOW_ALL)

    def test_the_service_lends_the_person_no_right(self):
        for subject in (
            key(DELEGATION),
            key(DELEGATION, service=True),
            key(statement({"Service": "s3.amazonaws.com"})),
        ):
            asked = call(via_service=self.VIA, EncryptionContext={"aws:s3:arn": "x"})
            with pytest.raises(KmsError):
                authorize(asked, kms(), subject, policies=[])

    def test_a_deny_via_the_service_holds(self):
        subject = key(
            KEY_NAMES_ALICE, statement("*", "Deny", Condition={"StringLike": {"kms:ViaService": "s3.*.amazonaws.com"}})
        )
        assert authorize(call(), kms(), subject, policies=[])
        with pytest.raises(KmsError, match=DENIED_BY_KEY):
            authorize(call(via_service=self.VIA), kms(), subject, policies=[])
