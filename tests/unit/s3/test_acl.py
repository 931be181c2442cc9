import pytest

from strongroom.aws.errors import S3Error
from strongroom.s3.acl import check_acl


@pytest.mark.parametrize("acl", [None, "private", "bucket-owner-full-control"])
def test_accepted(acl):
    check_acl(acl)


@pytest.mark.parametrize(
    "acl", ["public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read"]
)
def test_other_canned_acl_is_not_supported(acl):
    with pytest.raises(S3Error) as caught:
        check_acl(acl)
    assert (caught.value.code, caught.value.status) == ("AccessControlListNotSupported", 400)
    assert caught.value.message == "The bucket does not allow ACLs"


@pytest.mark.parametrize("acl", ["fake-acl", "", "PRIVATE", "private,private"])
def test_unknown_acl_is_invalid_argument(acl):
    with pytest.raises(S3Error) as caught:
        check_acl(acl)
    assert (caught.value.code, caught.value.message) == ("InvalidArgument", "")
    assert caught.value.detail == {"ArgumentName": "x-amz-acl", "ArgumentValue": acl}
