# SPDX-License-Identifier: Apache-2.0
"""API answers become errors that say what to do."""

from __future__ import annotations

import json

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import (
    ApiError,
    AuthError,
    CloudError,
    ConflictError,
    GoneError,
    NoCapacityError,
    QuotaError,
    api_message,
    from_response,
    is_no_capacity,
    quota_name,
    unknown,
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"itemNotFound": {"code": 404, "message": "Instance x is not there."}}', "Instance x is not there."),
        ('{"NeutronError": {"type": "PortNotFound", "message": "Port x", "detail": ""}}', "Port x"),
        ('{"error": {"code": 401, "message": "The request you have made requires authentication."}}',
         "The request you have made requires authentication."),
        ('{"message": "flat"}', "flat"),
        ("<html><head><title>502</title></head><body><h1>Bad  Gateway</h1></body></html>", "Bad Gateway"),
        ("", ""),
        ("[1]", "[1]"),
        ('{"a": ', '{"a":'),
        ("plain\n text", "plain text"),
    ],
)  # fmt: skip
def test_api_message(body: str, expected: str) -> None:
    assert api_message(body) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Quota exceeded for instances: Requested 1, but already used 10 of 10 instances", "instances"),
        ("Quota exceeded for cores, ram: Requested 8, 32768, but already used 8, 32768 of 10, 40000 cores, ram",
         "cores, ram"),
        ("Quota exceeded for resources: ['port'].", "port"),
        ("VolumeLimitExceeded: Maximum number of volumes allowed (10) exceeded for quota 'volumes'.", "volumes"),
        ("VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota. Requested 5G",
         "gigabytes"),
        ("Policy doesn't allow os_compute_api:servers:create to be performed.", None),
        ("Something about a quota that was exceeded", "unnamed"),
    ],
)  # fmt: skip
def test_quota_name(message: str, expected: str | None) -> None:
    assert quota_name(message) == expected


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "Invalid key_name provided.", ApiError),
        (400, "The requested availability zone is not available", NoCapacityError),
        (401, "The request you have made requires authentication.", AuthError),
        (403, "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances", QuotaError),
        (403, "Policy doesn't allow this", ApiError),
        (404, "Instance x could not be found.", GoneError),
        (406, "Version 2.72 is not supported", ApiError),
        (409, "Cannot 'unshelve' instance x while it is in vm_state active", ConflictError),
        (409, "Quota exceeded for resources: ['port'].", QuotaError),
        (413, "VolumeLimitExceeded: Maximum number of volumes allowed (1) exceeded for quota 'volumes'.", QuotaError),
        (500, "No valid host was found.", NoCapacityError),
    ],
)
def test_from_response(status: int, message: str, kind: type[CloudError]) -> None:
    body = json.dumps({"error": {"message": message}})
    error = from_response("creating the server gpu-1", "POST", "http://c/servers", status, body, "req-1")
    assert type(error) is kind
    for part in ("creating the server gpu-1", message, "http://c/servers", "req-1", str(status)):
        assert part in str(error)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("No valid host was found. There are not enough hosts available.", True),
        ("Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures", True),
        ("Build of instance x aborted: Block Device Mapping is Invalid.", False),
    ],
)
def test_is_no_capacity(message: str, expected: bool) -> None:
    assert is_no_capacity(message) is expected


def test_unknown_names_what_is_close() -> None:
    said = unknown("flavor", "GL10.8-32768-0-1GPX", ["GL10.8-32768-0-1GPU", "SL1.2-4096", ""], "flavor", "region ru-7")
    assert "flavor 'GL10.8-32768-0-1GPX' does not exist in region ru-7" in said
    assert "GL10.8-32768-0-1GPU" in said
    assert "Set `flavor`" in said


def test_unknown_with_nothing_close_and_with_nothing() -> None:
    assert "there is: a, b, c, d, e and 1 more" in unknown("image", "zzz", "abcdef", "image")
    assert "none at all" in unknown("key pair", "zzz", [], "key_name")
