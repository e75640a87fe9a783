"""Settings of object stores: the names that AWS's own tools read."""

from __future__ import annotations

import pytest

from millrace_data.objects.filesystem import ObjectStoreSettings


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
