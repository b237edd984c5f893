"""What services plug in with: what is right, and what each wrong file is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core import services
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.services import Place, Route, Service, ServiceError

PREFIX = {"prefix": "/chat/", "port": 9004}
MODELS = {"paths": ["/api/chat"], "port": 11434, "models": True}
ALERT = {"alert": "Down", "expr": "up == 0", "for": "5m", "annotations": {"summary": "It is down"}}
DASHBOARD = {"uid": "chat", "title": "Chat", "panels": [{"type": "timeseries"}], "schemaVersion": 39}


def of(name: str, **files: object) -> Service:
    """A service with these files; ``dashboard`` is one of its dashboards."""
    paths = {"dashboard": "dashboards/one.json"}
    texts = {
        paths.get(file, f"{file}.json"): data if isinstance(data, str) else json.dumps(data)
        for file, data in files.items()
    }
    return services.service(name, texts)


def routes(*each: object) -> dict[str, Any]:
    return {"routes": list(each)}


def test_a_service_that_plugs_nothing_in() -> None:
    assert services.service("quiet", {}) == Service("quiet")
    services.check([Service("quiet")])


def test_a_route_has_its_defaults() -> None:
    [route] = of("chat", routes=routes(PREFIX)).routes
    assert route == Route(owner="chat", service="chat", port=9004, prefix="/chat/")
    assert (route.access, route.methods, route.buffered, route.repeat) == ("keys", (), True, False)
    assert route.upstream == "chat_9004"
    [models] = of("llm", routes=routes(MODELS)).routes
    assert models.methods == ("GET", "HEAD")


@pytest.mark.parametrize(
    ("route", "places"),
    [
        ({"prefix": "/a.b/c/"}, [Place("^~ /a.b/c/", r"~^/a\.b/c/", "/a.b/c/", "/a.b/c")]),
        ({"prefix": "/chat/", "strip": True}, [Place("^~ /chat/", "~^/chat/", "/", "/chat")]),
        ({"paths": ["/", "/v1/x"]}, [Place("= /", "/", "/"), Place("= /v1/x", "/v1/x", "/v1/x")]),
        (
            {"paths": ["/v1.0/{model}"]},
            [
                Place(
                    r"~ ^/v1\.0/[A-Za-z0-9._:/-]+\z",
                    r"~^/v1\.0/[A-Za-z0-9._:/-]+\z",
                    "$uri$is_args$args",
                )
            ],
        ),
        (
            {"paths": ["/blobs/{digest}"]},
            [
                Place(
                    r"~ ^/blobs/sha256[:-][0-9a-f]+\z",
                    r"~^/blobs/sha256[:-][0-9a-f]+\z",
                    "$uri$is_args$args",
                )
            ],
        ),
    ],
)
def test_where_a_route_is_in_nginx(route: dict[str, Any], places: list[Place]) -> None:
    [made] = of("x", routes=routes({"port": 80, **route})).routes
    assert list(made.places) == places


def test_what_the_gateways_templates_read() -> None:
    [route] = of("chat", routes=routes({**PREFIX, "service": "chat-api", "methods": ["POST"]})).routes
    plain = json.loads(json.dumps(route.plain()))
    assert plain["upstream"] == "chat-api_9004"
    assert plain["allowed"] == ["POST"]
    assert plain["places"][0]["match"] == "^~ /chat/"
    [every] = of("chat", routes=routes(PREFIX)).routes
    assert every.plain()["allowed"] == list(services.EVERY_METHOD)


def test_routes_are_the_same_whoever_registers_first() -> None:
    both = [of(name, routes=routes({"paths": [f"/{name}"], "port": 80})) for name in ("b", "a")]
    assert services.routes(both) == services.routes(reversed(both))


def test_maps_look_at_longer_prefixes_first() -> None:
    long = {"prefix": "/chat/files/", "port": 9004, "max_body": "1g"}
    found = services.routes([of("chat", routes=routes(MODELS, PREFIX, long))])
    assert [route.prefix for route in found] == ["/chat/files/", "/chat/", ""]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("{", "must be JSON"),
        ([], "x/routes.json: file must be an object"),
        ({}, "file.routes is missing: it must be a list"),
        ({"routes": {}}, "file.routes is {}: it must be a list"),
        ({"routes": [], "model": []}, "file.model is unknown: it must be one of routes, serves, ready"),
        ({"routes": [], "serves": ['a"b']}, "file.serves is"),
        (routes(PREFIX, "/x"), "x/routes.json: routes[1] must be an object"),
        (routes({"prefix": "/a/"}), "routes[0].port is missing: it must be a number from 1 to 65535"),
        (routes({**PREFIX, "port": "80"}), 'routes[0].port is "80": it must be a number'),
        (routes({**PREFIX, "port": True}), "routes[0].port is true"),
        (routes({**PREFIX, "port": 0}), "routes[0].port is 0"),
        (routes({**PREFIX, "ports": 1}), "routes[0].ports is unknown: it must be one of paths, prefix, port"),
        (routes({"port": 80}), "routes[0] must have either paths or prefix"),
        (routes({**PREFIX, "paths": ["/b"]}), "routes[0] must have either paths or prefix"),
        (routes({**PREFIX, "prefix": "/"}), "must be a path below / with a slash at both ends"),
        (routes({**PREFIX, "prefix": "/chat"}), "must be a path below /"),
        (routes({**PREFIX, "prefix": "/../x/"}), "must be a path below /"),
        (routes({**PREFIX, "prefix": "/a;b/"}), "must be a path below /"),
        (routes({**PREFIX, "prefix": "/a/\n"}), "must be a path below /"),
        (routes({"port": 80, "paths": []}), "routes[0].paths is []: it must be a list of paths"),
        (routes({"port": 80, "paths": ["/a", "b"]}), "must be a list of paths"),
        (routes({"port": 80, "paths": ["/a//b"]}), "must be a list of paths"),
        (routes({"port": 80, "paths": ["/a/.."]}), "must be a list of paths"),
        (routes({"port": 80, "paths": ["/{name}"]}), "and {model} or {digest}"),
        (routes({**PREFIX, "service": "Chat"}), "must be the name of a service in the stack"),
        (routes({**PREFIX, "methods": ["get"]}), "must be a list of methods in capitals"),
        (routes({**PREFIX, "methods": []}), "must be a list of methods in capitals"),
        (routes({**PREFIX, "access": "none"}), "must be keys, admin or open"),
        (routes({**PREFIX, "max_body": "1 GB"}), "must be a size such as 50m"),
        (routes({**PREFIX, "max_body": 5}), "must be a size such as 50m"),
        (routes({**PREFIX, "repeat": "yes"}), 'routes[0].repeat is "yes": it must be true or false'),
        (routes({**PREFIX, "runs": True}), "routes[0].runs must not be true for a route without models"),
        (routes({"paths": ["/a"], "port": 80, "strip": True}), "strip must not be true for a route without prefix"),
        ({**routes(PREFIX), "ready": "/"}, "file.ready is"),
        ({**routes(PREFIX), "ready": {"port": 9004}}, "ready.path is missing: it must be one path"),
        ({**routes(PREFIX), "ready": {"path": "/{model}", "port": 9004}}, "ready.path is"),
        (
            {**routes(PREFIX), "ready": {"path": "/", "port": 1}},
            "ready.port is 1: it must be a service and port of one",
        ),
        (routes({**MODELS, "access": "open"}), "routes[0].access must not be given for a route with models"),
        (routes({**PREFIX, "models": True}), "routes[0].prefix must not be given for a route with models"),
        (routes({**MODELS, "max_body": "1g"}), "routes[0].max_body must not be given"),
    ],
)
def test_a_wrong_route_is_named(data: object, words: str) -> None:
    with pytest.raises(ServiceError) as raised:
        of("x", routes=data)
    assert words in str(raised.value)
    assert str(raised.value).startswith("x/routes.json")


def path(name: str, **more: Any) -> dict[str, Any]:
    return {"paths": [name], "port": 80, **more}


def under(prefix: str, **more: Any) -> dict[str, Any]:
    return {"prefix": prefix, "port": 80, **more}


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([path("/a")], [path("/b"), under("/a/b/")], ""),
        ([path("/a")], [path("/a")], "/a of one/routes.json and /a of two/routes.json overlap"),
        ([under("/a/")], [path("/a/b")], "/a/ of one/routes.json and /a/b of two/routes.json overlap"),
        ([under("/a/")], [path("/a")], "overlap"),
        ([under("/a/")], [under("/a/")], "overlap"),
        ([under("/a/b/")], [under("/a/")], "overlap"),
        ([path("/v1/{model}")], [path("/v1/x")], "/v1/ of one/routes.json and /v1/x of two"),
        ([path("/v1/{model}")], [under("/v1/x/")], "overlap"),
        ([path("/v1/{model}")], [path("/v1")], ""),
        ([path("/health")], [], "/health of one/routes.json takes /health, which the gateway answers itself"),
        ([under("/ready/")], [], "/ready/ of one/routes.json takes /ready"),
        ([path("/_error")], [], "takes /_error"),
        ([path("/{model}")], [], "takes /health"),
        # One service's own.
        ([under("/a/"), under("/a/b/")], [], ""),
        ([under("/a/"), path("/a/b")], [], ""),
        ([path("/a/{model}"), path("/a/b")], [], ""),
        ([under("/a/"), under("/a/")], [], "overlap"),
        ([path("/a"), path("/a")], [], "overlap"),
        ([under("/a/"), path("/a/{model}")], [], "overlap"),
        ([under("/a/"), path("/a/b", models=True)], [], "overlap"),
    ],
)
def test_a_path_belongs_to_one_route(first: list[Any], second: list[Any], words: str) -> None:
    both = [of("one", routes=routes(*first)), of("two", routes=routes(*second))]
    if not words:
        services.check(both)
        return
    with pytest.raises(ServiceError) as raised:
        services.check(both)
    assert words in str(raised.value)


def test_one_service_decides_whether_the_gateway_is_ready() -> None:
    data = {**routes(PREFIX), "ready": {"path": "/api/version", "port": 9004}}
    one, other = of("one", routes=data), of("two", routes={**data, "routes": [under("/b/", port=9004)]})
    assert one.ready == services.Ready("one", 9004, "/api/version")
    assert one.ready.upstream == "one_9004"
    services.check([one])
    with pytest.raises(ServiceError, match=r"one/routes.json and two/routes.json have ready"):
        services.check([one, other])


def test_a_target_has_its_defaults() -> None:
    [target] = of("chat", targets=[{"port": 9100, "labels": {"part": "api"}}]).targets
    assert (target.service, target.path, target.interval, target.labels) == ("chat", "/metrics", "", {"part": "api"})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"targets": []}, "must be a list of targets"),
        (["chat:9100"], "[0] must be an object"),
        ([{}], "[0].port is missing"),
        ([{"port": 1, "targets": ["a:1"]}], "[0].targets is unknown"),
        ([{"port": 1}, {"port": 1, "path": "metrics"}], "[1].path is"),
        ([{"port": 1, "interval": "30"}], "must be a duration such as 30s"),
        ([{"port": 1, "labels": {"a-b": ""}}], "must be labels with texts"),
        ([{"port": 1, "labels": {"a": 1}}], "must be labels with texts"),
        ([{"port": 1, "labels": {"__address__": "a"}}], "none that begins with __"),
        ([{"port": 1, "labels": {"server": "a"}}], "or is instance, job, server, service"),
    ],
)
def test_a_wrong_target_is_named(data: object, words: str) -> None:
    with pytest.raises(ServiceError) as raised:
        of("x", targets=data)
    assert words in str(raised.value)
    assert str(raised.value).startswith("x/targets.json: ")


def group(*rules: object, name: str = "chat", **more: object) -> dict[str, Any]:
    return {"name": name, "rules": list(rules), **more}


def test_right_rules_pass_as_they_are() -> None:
    record = {"record": "chat:requests:rate5m", "expr": "sum(rate(chat_requests_total[5m]))", "labels": {"a": "b"}}
    groups = [group(ALERT, interval="1m"), group(record, name="more")]
    assert list(of("chat", rules={"groups": groups}).rules) == groups


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "file must be an object"),
        ({"groups": [{"name": "a"}]}, "groups[0].rules is missing"),
        ({"groups": [group(name="a")]}, "groups[0].rules is []: it must be a list with a rule"),
        ({"groups": [group(ALERT), group(ALERT)]}, "groups[1].name is chat, which another group has"),
        ({"groups": [group(ALERT, ALERT | {"expr": " "})]}, "groups[0].rules[1].expr"),
        ({"groups": [group(ALERT | {"record": "a"})]}, "must have either alert or record"),
        ({"groups": [group({"expr": "up"})]}, "must have either alert or record"),
        ({"groups": [group(ALERT | {"for": 5})]}, "rules[0].for is 5: it must be a duration"),
        ({"groups": [group(ALERT | {"annotations": {}})]}, "annotations.summary is missing: it must say what is wrong"),
        ({"groups": [group(ALERT | {"severity": "page"})]}, "rules[0].severity is unknown"),
        ({"groups": [group({"record": "a b", "expr": "1"})]}, "must be the name of a metric"),
        ({"groups": [group({"record": "a", "expr": "1", "for": "1m"})]}, "rules[0].for must not be given"),
    ],
)
def test_a_wrong_rule_is_named(data: object, words: str) -> None:
    with pytest.raises(ServiceError) as raised:
        of("x", rules=data)
    assert words in str(raised.value)
    assert str(raised.value).startswith("x/rules.json: ")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"uid": "a b"}, "dashboard.uid is"),
        ({"title": ""}, "dashboard.title is"),
        ({"panels": []}, "dashboard.panels is []: it must be a list with a panel"),
    ],
)
def test_a_wrong_dashboard_is_named(wrong: dict[str, Any], words: str) -> None:
    assert of("x", dashboard=DASHBOARD).dashboards["dashboards/one.json"] == DASHBOARD
    with pytest.raises(ServiceError) as raised:
        of("x", dashboard={**DASHBOARD, **wrong})
    assert words in str(raised.value)
    assert str(raised.value).startswith("x/dashboards/one.json: ")


def test_dashboards_have_different_ids() -> None:
    services.check([of("one", dashboard=DASHBOARD), of("two", dashboard={**DASHBOARD, "uid": "other"})])
    with pytest.raises(ServiceError, match=r"two/dashboards/one.json: dashboard.uid is chat, as in one/dashboards"):
        services.check([of("one", dashboard=DASHBOARD), of("two", dashboard=DASHBOARD)])
