# Copyright: (c) 2026, gpuswarm contributors
# SPDX-License-Identifier: Apache-2.0
"""What a service plugs in with: the files that its role writes beside its compose file, and what they must be.

docs/reference/services.md has the contract. Every error names the file, the field, and what it must be.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

ROUTES, TARGETS, RULES, DASHBOARDS = "routes.json", "targets.json", "rules.json", "dashboards"

# What the gateway answers by itself.
RESERVED = ("/health", "/ready", "/_error")
EVERY_METHOD = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
READING = ("GET", "HEAD")

NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")
PLACEHOLDERS = {"{model}": "[A-Za-z0-9._:/-]+", "{digest}": "sha256[:-][0-9a-f]+"}
PATH = re.compile(r"/([A-Za-z0-9._~/-]|\{model\}|\{digest\})*")
PREFIX = re.compile(r"/([A-Za-z0-9._~-]+/)+")
UNCLEAR = re.compile(r"//|/\.{1,2}(/|$)")
SIZE = re.compile(r"0|[1-9][0-9]*[kKmMgG]?")
METHOD = re.compile(r"[A-Z]{3,20}")
# Goes into nginx' configuration between quotes.
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}")
LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
METRIC = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
DURATION = re.compile(r"([1-9][0-9]*(ms|[smhdwy]))+")
UID = re.compile(r"[A-Za-z0-9_-]{1,40}")
# Prometheus, or who writes its configuration, sets these.
OWN_LABELS = frozenset({"instance", "job", "server", "service"})


class ServiceError(Exception):
    """A file of a service does not keep the contract; the message names the file, the field, and what it must be."""


@dataclass(frozen=True)
class Place:
    """Where at the gateway a route is.

    Attributes:
        match: what nginx' ``location`` takes.
        pattern: what a map of nginx takes, by which the place's methods are found.
        target: what is asked of the service, as nginx' ``proxy_pass`` takes it after the server's name.
        redirect: address without the slash at its end, which leads here; empty if there is none.
    """

    match: str
    pattern: str
    target: str
    redirect: str = ""


def upstream(service: str, port: int) -> str:
    """What nginx calls the tasks of a service."""
    return f"{service}_{port}"


def _place(path: str) -> Place:
    if "{" not in path:
        return Place(f"= {path}", path, path)
    pattern = "".join(PLACEHOLDERS.get(part) or _escaped(part) for part in re.split(r"(\{\w+\})", path))
    # nginx cannot replace what an expression has found; these paths hold nothing that would have to be escaped.
    return Place(f"~ ^{pattern}\\z", f"~^{pattern}\\z", "$uri$is_args$args")


def _escaped(path: str) -> str:
    """A path as an expression; nothing else in it means anything there."""
    return path.replace(".", "\\.")


@dataclass(frozen=True)
class Route:
    """Requests that the gateway passes on to a service.

    Attributes:
        owner: name of the service whose role has written it.
        service: name of the service that answers, in the stack.
        port: where its containers listen.
        paths: exact paths; ``{model}`` and ``{digest}`` stand for any.
        prefix: beginning of all its paths, with a slash at its end; instead of ``paths``.
        methods: those that it takes; empty for every one.
        access: keys (as the gateway asks for them), admin (administrators' keys and networks), open (everybody).
        models: whether the gateway checks the body as a request of Ollama's API, and repeats it on another replica.
        runs: whether a model works for it.
        buffered: whether the body is read as a whole before it is passed on.
        repeat: whether what changes something, too, may be sent again to another replica.
        strip: whether the service sees paths without the prefix.
        max_body: largest body as nginx writes it, 0 for any; empty for the gateway's own limit.
    """

    owner: str
    service: str
    port: int
    paths: tuple[str, ...] = ()
    prefix: str = ""
    methods: tuple[str, ...] = ()
    access: str = "keys"
    models: bool = False
    runs: bool = False
    buffered: bool = True
    repeat: bool = False
    strip: bool = False
    max_body: str = ""

    @property
    def upstream(self) -> str:
        """Name of the group of servers in nginx."""
        return upstream(self.service, self.port)

    @property
    def places(self) -> tuple[Place, ...]:
        """Where it is at the gateway."""
        if self.prefix:
            target = "/" if self.strip else self.prefix
            return (Place(f"^~ {self.prefix}", f"~^{_escaped(self.prefix)}", target, self.prefix.rstrip("/")),)
        return tuple(_place(path) for path in self.paths)

    def plain(self) -> dict[str, Any]:
        """As the role gateway's templates read it."""
        return {
            **vars(self),
            "upstream": self.upstream,
            "allowed": list(self.methods or EVERY_METHOD),
            "places": [vars(place) for place in self.places],
        }


@dataclass(frozen=True)
class Ready:
    """What the gateway's /ready asks: whether a service answers behind it.

    Attributes:
        service: its name in the stack.
        port: where its containers listen.
        path: that a service which is ready answers with 2xx.
    """

    service: str
    port: int
    path: str

    @property
    def upstream(self) -> str:
        """Name of the group of servers in nginx."""
        return upstream(self.service, self.port)


@dataclass(frozen=True)
class Target:
    """Where metrics of a service are: at each of its tasks.

    Attributes:
        service: its name in the stack.
        port: where its containers listen.
        path: of the metrics.
        interval: how often they are read, such as 30s; empty for as often as all others.
        labels: that the series get.
    """

    service: str
    port: int
    path: str = "/metrics"
    interval: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Service:
    """What one service plugs in with.

    Attributes:
        name: of the service, which its role has registered.
        serves: names of the models that it serves.
        routes: at the gateway.
        ready: what the gateway's /ready asks; None if that does not depend on this service.
        targets: that Prometheus scrapes.
        rules: groups of rules, as Prometheus reads them.
        dashboards: as Grafana reads them, by the name of their file.
    """

    name: str
    serves: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    ready: Ready | None = None
    targets: tuple[Target, ...] = ()
    rules: tuple[Mapping[str, Any], ...] = ()
    dashboards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


# --- fields ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Field:
    """What a field may be: a test, and the words for it."""

    is_right: Callable[[Any], bool]
    must: str
    required: bool = False


def _text(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _texts(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and bool(value) and all(map(is_right, value))


def _words(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _clear(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: _text(pattern)(value) and not UNCLEAR.search(value)


def _port(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535


def _labels(value: Any) -> bool:
    return isinstance(value, dict) and all(_text(LABEL)(name) and isinstance(text, str) for name, text in value.items())


def _target_labels(value: Any) -> bool:
    return _labels(value) and not any(name.startswith("__") or name in OWN_LABELS for name in value)


_FLAG = _Field(lambda value: isinstance(value, bool), "true or false")
_PORT = _Field(_port, "a number from 1 to 65535, where the service's containers listen", required=True)
_SERVICE = _Field(_text(NAME), "the name of a service in the stack: lower-case letters, digits, _ and -")
_DURATION = _Field(_text(DURATION), "a duration such as 30s or 5m")
_LIST = _Field(lambda value: isinstance(value, list), "a list", required=True)

_ROUTE_FILE = {
    "routes": _LIST,
    "serves": _Field(_texts(_text(MODEL)), "a list of names of models"),
    "ready": _Field(lambda value: isinstance(value, dict), "an object with path and port"),
}
_READY = {
    "path": _Field(
        lambda value: _clear(PATH)(value) and "{" not in value, "one path, such as /api/version", required=True
    ),
    "port": _PORT,
    "service": _SERVICE,
}
_ROUTE = {
    "paths": _Field(
        _texts(_clear(PATH)),
        "a list of paths such as /api/chat, of letters, digits and . _ ~ - /, and {model} or {digest}",
    ),
    "prefix": _Field(_clear(PREFIX), "a path below / with a slash at both ends, such as /chat/"),
    "port": _PORT,
    "service": _SERVICE,
    "methods": _Field(_texts(_text(METHOD)), "a list of methods in capitals, such as GET"),
    "access": _Field(lambda value: value in ("keys", "admin", "open"), "keys, admin or open"),
    "max_body": _Field(_text(SIZE), "a size such as 50m, or 0 for any"),
    **dict.fromkeys(("models", "runs", "buffered", "repeat", "strip"), _FLAG),
}
_TARGET = {
    "port": _PORT,
    "service": _SERVICE,
    "path": _Field(_clear(PATH), "a path such as /metrics"),
    "interval": _DURATION,
    "labels": _Field(
        _target_labels, f"labels with texts, and none that begins with __ or is {', '.join(sorted(OWN_LABELS))}"
    ),
}
_RULE_FILE = {"groups": _LIST}
_GROUP = {
    "name": _Field(_words, "a text", required=True),
    "interval": _DURATION,
    "rules": _Field(lambda value: isinstance(value, list) and bool(value), "a list with a rule", required=True),
}
_RULE = {
    "alert": _Field(_text(LABEL), "a name of letters, digits and _"),
    "record": _Field(_text(METRIC), "the name of a metric"),
    "expr": _Field(_words, "an expression of PromQL, as a text", required=True),
    "for": _DURATION,
    "keep_firing_for": _DURATION,
    "labels": _Field(_labels, "labels with texts"),
    "annotations": _Field(_labels, "annotations with texts"),
}
# A dashboard has many fields more, which are Grafana's.
_DASHBOARD = {
    "uid": _Field(_text(UID), "up to 40 letters, digits, _ and -", required=True),
    "title": _Field(_words, "a text", required=True),
    "panels": _Field(lambda value: isinstance(value, list) and bool(value), "a list with a panel", required=True),
}


def _object(where: str, value: Any, fields: Mapping[str, _Field], *, others: bool = False) -> dict[str, Any]:
    """An object that has these fields.

    :param others: whether it may have other fields.
    :raises ServiceError: it has not.
    """
    if not isinstance(value, dict):
        raise ServiceError(f"{where} must be an object")
    if not others and (unknown := sorted(value.keys() - fields.keys())):
        raise ServiceError(f"{where}.{unknown[0]} is unknown: it must be one of {', '.join(fields)}")
    for name, about in fields.items():
        if name not in value:
            if about.required:
                raise ServiceError(f"{where}.{name} is missing: it must be {about.must}")
        elif not about.is_right(value[name]):
            raise ServiceError(f"{where}.{name} is {json.dumps(value[name])[:200]}: it must be {about.must}")
    return value


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


# --- files -----------------------------------------------------------------------------------------------------------


def service(name: str, files: Mapping[str, str]) -> Service:
    """What a service plugs in with.

    :param name: that it is registered under.
    :param files: texts of the files that there are, by their path below the service's directory.
    :raises ServiceError: a file does not keep the contract.
    """
    data = {path: _parsed(f"{name}/{path}", text) for path, text in files.items()}
    serves, routes, ready = _routes(name, data[ROUTES]) if ROUTES in data else ((), (), None)
    return Service(
        name=name,
        serves=serves,
        routes=routes,
        ready=ready,
        targets=_targets(name, data[TARGETS]) if TARGETS in data else (),
        rules=_rules(f"{name}/{RULES}:", data[RULES]) if RULES in data else (),
        dashboards={
            path: _object(f"{name}/{path}: dashboard", value, _DASHBOARD, others=True)
            for path, value in data.items()
            if path.startswith(f"{DASHBOARDS}/")
        },
    )


def _parsed(file: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ServiceError(f"{file} must be JSON: {error}") from error


def _routes(name: str, data: Any) -> tuple[tuple[str, ...], tuple[Route, ...], Ready | None]:
    file = f"{name}/{ROUTES}: "
    whole = _object(f"{file}file", data, _ROUTE_FILE)
    routes = tuple(_route(name, f"{file}routes[{at}]", value) for at, value in enumerate(whole["routes"]))
    ready = None
    if "ready" in whole:
        ready = Ready(**{"service": name, **_object(f"{file}ready", whole["ready"], _READY)})
        if ready.upstream not in {route.upstream for route in routes}:
            raise ServiceError(f"{file}ready.port is {ready.port}: it must be a service and port of one of the routes")
    return tuple(whole.get("serves", ())), routes, ready


def _route(name: str, where: str, value: Any) -> Route:
    data = _object(where, value, _ROUTE)
    if ("paths" in data) == ("prefix" in data):
        raise ServiceError(f"{where} must have either paths or prefix")
    if data.get("models"):
        # These requests are buffered, checked and repeated in the gateway's own way.
        for other in ("prefix", "access", "max_body", "buffered", "repeat"):
            if other in data:
                raise ServiceError(
                    f"{where}.{other} must not be given for a route with models, which the gateway sees to"
                )
        data = {"methods": list(READING), **data}
    elif data.get("runs"):
        raise ServiceError(f"{where}.runs must not be true for a route without models")
    if data.get("strip") and "prefix" not in data:
        raise ServiceError(f"{where}.strip must not be true for a route without prefix")
    return Route(owner=name, **{"service": name, **_tuples(data)})


def _targets(name: str, data: Any) -> tuple[Target, ...]:
    file = f"{name}/{TARGETS}:"
    if not isinstance(data, list):
        raise ServiceError(f"{file} must be a list of targets")
    found = [_object(f"{file} [{at}]", value, _TARGET) for at, value in enumerate(data)]
    return tuple(Target(**{"service": name, **each}) for each in found)


def _rules(file: str, data: Any) -> tuple[Mapping[str, Any], ...]:
    groups = _object(f"{file} file", data, _RULE_FILE)["groups"]
    names: set[str] = set()
    for at, group in enumerate(groups):
        where = f"{file} groups[{at}]"
        _object(where, group, _GROUP)
        if group["name"] in names:
            raise ServiceError(f"{where}.name is {group['name']}, which another group has: it must be the only one")
        names.add(group["name"])
        for number, rule in enumerate(group["rules"]):
            _rule(f"{where}.rules[{number}]", rule)
    return tuple(groups)


def _rule(where: str, value: Any) -> None:
    rule = _object(where, value, _RULE)
    if ("alert" in rule) == ("record" in rule):
        raise ServiceError(f"{where} must have either alert or record")
    if "alert" in rule and not rule.get("annotations", {}).get("summary"):
        raise ServiceError(f"{where}.annotations.summary is missing: it must say what is wrong")
    if "record" in rule and (other := {"for", "keep_firing_for", "annotations"} & rule.keys()):
        raise ServiceError(f"{where}.{min(other)} must not be given for a rule that records")


# --- all services together -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Claim:
    """Paths that belong to a route: one, or all that begin with a text."""

    route: Route
    path: str
    begins: bool = False
    named: bool = False  # by a placeholder

    def __str__(self) -> str:
        return f"{self.route.prefix or self.path} of {self.route.owner}/{ROUTES}"

    def overlaps(self, other: _Claim) -> bool:
        """Whether a path belongs to both."""
        if self.begins and other.begins:
            return self.path.startswith(other.path) or other.path.startswith(self.path)
        if self.begins or other.begins:
            whole, part = (self, other) if self.begins else (other, self)
            return part.path.startswith(whole.path)
        return self.path == other.path

    def may_overlap(self, other: _Claim) -> bool:
        """Whether it is clear to whom such a path belongs: to the longer one of the same service."""
        same = self.route.owner == other.route.owner and self.route.models == other.route.models
        two_of_a_kind = self.begins and other.begins and (self.named or other.named)
        return same and (self.path, self.begins) != (other.path, other.begins) and not two_of_a_kind


def _claims(route: Route) -> Iterator[_Claim]:
    if route.prefix:
        yield _Claim(route, route.prefix, begins=True)
        yield _Claim(route, route.prefix.rstrip("/"))
    for path in route.paths:
        beginning, brace = path.partition("{")[:2]
        yield _Claim(route, beginning, begins=bool(brace), named=bool(brace))


def check(services: Iterable[Service]) -> None:
    """Look for what services dispute with each other, or with the gateway.

    :raises ServiceError: they do.
    """
    services = list(services)
    claims = [claim for each in services for route in each.routes for claim in _claims(route)]
    for claim in claims:
        for own in RESERVED:
            if claim.overlaps(_Claim(claim.route, own)):
                raise ServiceError(f"{claim} takes {own}, which the gateway answers itself: it must be another path")
    for one, other in itertools.combinations(claims, 2):
        if one.overlaps(other) and not one.may_overlap(other):
            raise ServiceError(f"{one} and {other} overlap: a path must belong to one route")
    ready = [f"{each.name}/{ROUTES}" for each in services if each.ready]
    if len(ready) > 1:
        raise ServiceError(f"{' and '.join(ready)} have ready: it must be in the file of one service")
    uids: dict[str, str] = {}
    for each in services:
        for path, dashboard in each.dashboards.items():
            here = f"{each.name}/{path}"
            if (there := uids.setdefault(dashboard["uid"], here)) != here:
                raise ServiceError(
                    f"{here}: dashboard.uid is {dashboard['uid']}, as in {there}: each must have its own"
                )


def routes(services: Iterable[Service]) -> list[Route]:
    """All routes, the longest prefixes first, as nginx' maps look at them in their order; whoever registers first."""
    found = (route for each in services for route in each.routes)
    return sorted(found, key=lambda route: (-len(route.prefix), route.owner))
