"""Addresses and messages without what is secret in them."""

import pytest

from serving.runtime.addresses import masked, public_address, separate_credentials
from serving.runtime.errors import InputError

ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": "se/cret+key",
    "KFP_COOKIES": "first=cookie-one; second=cookie-two",
    "MY_DATABASE": "postgresql://me:pass%2Fword@db/x",
    "HARMLESS": "harmless",
    "USE_TOKEN": "true",
    "SHORT_PASSWORD": "abc",
    "EMPTY_TOKEN": "",
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://host:5000/a?b=c", "http://host:5000/a?b=c"),
        ("http://me:pass@host:5000/a", "http://host:5000/a"),
        ("http://token@host", "http://host"),
        ("http://me:p@ss@host/x@y", "http://host/x@y"),
        ("cannot reach 'https://me:pass@host' and s3://key:secret@raw/x", "cannot reach 'https://host' and s3://raw/x"),
        ("mail me@host.example or see http://host/a@b", "mail me@host.example or see http://host/a@b"),
        ("https://h/x?X-Amz-Signature=abc&part=1", "https://h/x?X-Amz-Signature=***&part=1"),
        ("https://h/x?a=1&sig=abc%2F#end", "https://h/x?a=1&sig=***#end"),
        ("{'Authorization': 'Basic bWU6cGFzcw=='}", "{'Authorization': 'Basic ***'}"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("http://[bad", "http://[bad"),
        ("", ""),
    ],
)
def test_an_address_shows_no_user_and_no_signature(text: str, shown: str) -> None:
    assert public_address(text) == shown
    assert masked(text, {}) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key se/cret+key", "key ***"),
        ("key se%2Fcret%2Bkey in an address", "key *** in an address"),
        ("Cookie: first=cookie-one; second=cookie-two", "Cookie: ***"),
        ("only cookie-two", "only ***"),
        ("db pass%2Fword or pass/word", "db *** or ***"),
        ("harmless, true and abc stay", "harmless, true and abc stay"),
    ],
)
def test_secrets_of_the_environment_are_masked(text: str, shown: str) -> None:
    assert masked(text, ENVIRONMENT) == shown


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            {"MLFLOW_TRACKING_URI": "http://me:p%40ss@host/x"},
            {
                "MLFLOW_TRACKING_URI": "http://host/x",
                "MLFLOW_TRACKING_USERNAME": "me",
                "MLFLOW_TRACKING_PASSWORD": "p@ss",
            },
        ),
        (
            {"MLFLOW_TRACKING_URI": "http://me:p@host", "MLFLOW_TRACKING_TOKEN": "t"},
            {"MLFLOW_TRACKING_URI": "http://host", "MLFLOW_TRACKING_TOKEN": "t"},
        ),
        ({"MLFLOW_TRACKING_URI": "postgresql://me:p@host/db"}, {"MLFLOW_TRACKING_URI": "postgresql://me:p@host/db"}),
        ({"AWS_ENDPOINT_URL": "http://me:p@host"}, {"AWS_ENDPOINT_URL": "http://host"}),
        ({"MLFLOW_TRACKING_URI": "http://host", "AWS_ENDPOINT_URL": ""}, None),
    ],
)
def test_credentials_leave_the_addresses(before: dict[str, str], after: dict[str, str] | None) -> None:
    environment = dict(before)
    for _ in range(2):
        separate_credentials(environment)
        assert environment == (before if after is None else after)


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL"])
@pytest.mark.parametrize("address", ["http://[bad", "http://me:planted@host:port", "http://host:99999"])
def test_an_address_that_is_none_is_named(variable: str, address: str) -> None:
    with pytest.raises(InputError, match=f"^{variable} is not an address: ") as caught:
        separate_credentials({variable: address})
    assert "planted" not in str(caught.value)
