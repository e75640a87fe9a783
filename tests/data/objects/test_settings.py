"""Settings of object stores: the names that AWS's own tools read."""

from __future__ import annotations

import pytest

from millrace_core.base.errors import RejectError
from millrace_core.base.settings import Settings
from millrace_data.objects.filesystem import ObjectStoreSettings, s3_filesystem
from millrace_data.objects.gs import GcsSettings
from millrace_data.objects.http import HttpSettings


@pytest.mark.parametrize(
    ("environ", "region"),
    [
        ({}, "us-east-1"),
        ({"AWS_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_DEFAULT_REGION": "eu-west-2", "AWS_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2", "AWS_REGION": ""}, "eu-west-2"),
    ],
)
def test_the_region_has_both_of_the_names_that_are_in_use(environ: dict[str, str], region: str) -> None:
    assert ObjectStoreSettings.load(environ).region == region


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({}, None),
        ({"AWS_ENDPOINT_URL": "http://a:1"}, "http://a:1"),
        ({"AWS_ENDPOINT_URL_S3": "http://b:1"}, "http://b:1"),
        ({"AWS_ENDPOINT_URL": "http://a:1", "AWS_ENDPOINT_URL_S3": "http://b:1"}, "http://b:1"),
    ],
)
def test_an_endpoint_for_s3_alone_wins_over_that_of_all_services(environ: dict[str, str], endpoint: str | None) -> None:
    assert ObjectStoreSettings.load(environ).endpoint_url == endpoint


@pytest.mark.parametrize(
    "endpoint",
    ["minio", "localhost:9000", "ftp://minio", "http://", "http://minio/lake", "http://me:hidden@minio", "http://[::1"],
)
def test_an_endpoint_that_is_no_address_is_refused_and_never_replaced_by_aws(endpoint: str) -> None:
    with pytest.raises(RejectError, match="is no endpoint of S3") as caught:
        s3_filesystem(ObjectStoreSettings.load({"AWS_ENDPOINT_URL": endpoint}))
    assert caught.value.field == "AWS_ENDPOINT_URL"
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["http://minio", "https://minio:9000/", "http://[::1]:9000"])
def test_an_endpoint_may_have_a_port_and_a_closing_slash(endpoint: str) -> None:
    environ = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    s3_filesystem(ObjectStoreSettings.load(environ))


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
        ("AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_a_part_of_the_credentials_is_refused_and_the_rest_named(given: str, missing: str) -> None:
    with pytest.raises(RejectError, match=f"came without {missing}") as caught:
        s3_filesystem(ObjectStoreSettings.load({given: "hidden"}))
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("token", ["hid\nden", "hid\tden", "hiddén", "“hidden”"])
@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (HttpSettings, "HTTP_TOKEN"),
        (GcsSettings, "GOOGLE_ACCESS_TOKEN"),
        (ObjectStoreSettings, "AWS_ACCESS_KEY_ID"),
        (ObjectStoreSettings, "AWS_SESSION_TOKEN"),
    ],
)
def test_what_no_header_can_have_is_named_by_its_variable_and_not_shown(
    settings: type[Settings], name: str, token: str
) -> None:
    with pytest.raises(RejectError, match=f"{name}: one line of ASCII characters") as caught:
        settings.load({name: token})
    assert caught.value.field == name
    assert token not in str(caught.value)
    assert settings.load({name: "hidden\n"}) == settings.load({name: "hidden"})
