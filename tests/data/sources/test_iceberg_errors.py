"""What AWS's Glue says of keys is told by its code, and by nothing that it names."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from millrace_core.base.errors import RejectError, RetryError
from millrace_data.sources.iceberg_errors import explained


def of_glue(code: str, text: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": text}}, "GetTable")


@pytest.mark.parametrize(
    "error",
    [
        *map(
            of_glue,
            [
                "AccessDeniedException",
                "UnrecognizedClientException",
                "InvalidSignatureException",
                "InvalidClientTokenId",
                "ExpiredTokenException",
            ],
        ),
        NoCredentialsError(),
    ],
    ids=str,
)
def test_keys_that_aws_does_not_take_are_a_denial(error: Exception) -> None:
    with (
        pytest.raises(RejectError, match=r"access to table lake\.events is denied"),
        explained("lake.events", opened=False),
    ):
        raise error


@pytest.mark.parametrize("name", ["AccessDenied", "ExpiredToken", "Forbidden", "ACCESS_DENIED"])
def test_a_table_that_is_called_like_a_denial_is_none(name: str) -> None:
    with pytest.raises(RetryError, match="could not be read"), explained(name, opened=False):
        raise of_glue("ThrottlingException", f"too many requests for {name}")
