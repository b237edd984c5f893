# SPDX-License-Identifier: Apache-2.0
"""The connection's pure parts: settings, endpoints, token cache."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._clients import cloud
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import AmbiguousError, ConfigError

CATALOG: list[dict[str, Any]] = [
    {
        "type": kind,
        "endpoints": [
            {"interface": interface, "region": region, "url": url.replace("R", region)}
            for interface in ("public", "internal")
            for region in ("ru-1", "ru-7")
        ],
    }
    for kind, url in (
        ("compute", "https://R.example/compute/v2.1"),
        ("network", "https://R.example/network/"),
        ("image", "https://R.example/image"),
        ("volumev2", "https://R.example/volume/v2/p"),
        ("volumev3", "https://R.example/volume/v3/p"),
    )
]


@pytest.mark.parametrize(
    ("service", "region", "expected"),
    [
        ("compute", "ru-7", "https://ru-7.example/compute/v2.1"),
        ("compute", None, "https://ru-1.example/compute/v2.1"),
        ("network", "ru-7", "https://ru-7.example/network/v2.0"),
        ("image", "ru-7", "https://ru-7.example/image/v2"),
        ("volume", "ru-7", "https://ru-7.example/volume/v3/p"),
    ],
)
def test_endpoint(service: str, region: str | None, expected: str) -> None:
    assert cloud.endpoint(CATALOG, service, "public", region) == expected


def test_endpoint_that_is_missing() -> None:
    with pytest.raises(ConfigError, match=r"region 'ru-9'.*ru-1, ru-7"):
        cloud.endpoint(CATALOG, "compute", "public", "ru-9")
    with pytest.raises(ConfigError, match="no compute service; it has: network"):
        cloud.endpoint([CATALOG[1]], "compute")
    with pytest.raises(ConfigError, match="scoped to a project"):
        cloud.endpoint([], "compute")


def test_token_cache(tmp_path: Path) -> None:
    cache = cloud.TokenCache(str(tmp_path / "new" / "dir"), "a/b=")
    assert cache.path is not None
    assert cache.load() is None
    cache.save("state")
    assert cache.load() == "state"
    assert stat.S_IMODE(cache.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.path.parent.stat().st_mode) == 0o700
    cache.save("newer")
    assert cache.load() == "newer"
    assert [p.name for p in cache.path.parent.iterdir()] == [cache.path.name]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"auth_state": 1}', json.dumps("x")])
def test_damaged_token_is_no_error(tmp_path: Path, content: str) -> None:
    cache = cloud.TokenCache(str(tmp_path), "k")
    assert cache.path is not None
    cache.path.touch(mode=0o600)
    cache.path.write_text(content)
    assert cache.load() is None


def test_token_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    cache = cloud.TokenCache(str(tmp_path), "k")
    cache.save("state")
    assert cache.path is not None
    cache.path.chmod(0o640)
    assert cache.load() is None


def test_token_cache_switched_off_or_in_a_bad_place(tmp_path: Path) -> None:
    off = cloud.TokenCache("", "k")
    off.save("state")
    assert off.load() is None
    (tmp_path / "file").touch()
    bad = cloud.TokenCache(str(tmp_path / "file" / "dir"), "k")
    bad.save("state")
    assert bad.load() is None


def test_token_cache_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = cloud.TokenCache(None, "k").path
    assert path is not None
    assert path.parent == tmp_path / "gpuswarm"


@pytest.fixture
def clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "clouds.yaml"
    file.write_text(
        "clouds:\n"
        "  one:\n    region_name: r1\n    auth: {auth_url: 'http://127.0.0.1:9/v3', username: u, password: hunter2,\n"
        "      project_name: p, user_domain_name: d, project_domain_name: d}\n"
        "  broken:\n    auth: {username: u, password: hunter2}\n"
    )
    for name in ("OS_CLOUD", "OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_REGION_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(file))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return file


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (cloud.CloudSettings(cloud="two"), ["'two'", "one", "clouds.yaml", "OS_CLOUD"]),
        (cloud.CloudSettings(), ["no cloud is named", "one"]),
        (cloud.CloudSettings(cloud="broken"), ["broken"]),
        (cloud.CloudSettings(auth={"username": "u", "password": "hunter2"}), ["auth_url"]),
    ],
)
@pytest.mark.usefixtures("clouds")
def test_settings_that_lead_nowhere(settings: cloud.CloudSettings, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        cloud.resolve(settings)
    for word in words:
        assert word in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_clouds_yaml_that_is_no_use(clouds: Path) -> None:
    clouds.write_text("clouds: [\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        cloud.resolve(cloud.CloudSettings(cloud="one"))
    clouds.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        cloud.resolve(cloud.CloudSettings(cloud="one"))


def test_exported(clouds: Path) -> None:
    exported = cloud.exported(cloud.CloudSettings(cloud="one"))["clouds"]["one"]
    assert exported["region_name"] == "r1"
    assert exported["auth"]["password"] == "hunter2"
    assert list(cloud.exported(cloud.CloudSettings(cloud="one"), "here")["clouds"]) == ["here"]
    clouds.write_text(json.dumps({"clouds": {"one": exported}}))
    assert cloud.exported(cloud.CloudSettings(cloud="one"))["clouds"]["one"] == exported


def test_only() -> None:
    assert cloud.at_most_one([], "port", "gpu-1", "demo") is None
    assert cloud.at_most_one([{"id": "a"}], "port", "gpu-1", "demo") == {"id": "a"}
    with pytest.raises(AmbiguousError, match="a, b"):
        cloud.at_most_one([{"id": "b"}, {"id": "a"}], "port", "gpu-1", "demo")
