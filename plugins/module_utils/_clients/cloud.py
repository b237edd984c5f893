# SPDX-License-Identifier: Apache-2.0
"""The modules' connection to the cloud: settings, token, requests, and the few API calls that they make.

openstacksdk resolves the settings (clouds.yaml, OS_* variables) and is imported only when a connection is made.
Requests go through its session directly: addresses come from the token's catalog, so that no call is spent on
discovery, and each write says for itself whether it may be repeated.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.errors import (
    AmbiguousError,
    ApiError,
    AuthError,
    CloudError,
    ConfigError,
    GoneError,
    LostAnswerError,
    TimedOutError,
    UnreachableError,
    api_message,
    from_response,
)
from ansible_collections.gpuswarm.ollama.plugins.module_utils._core.servers import FLEET, SERVER, Server, owner

from .retry import ATTEMPTS, Failure, next_delay, parse_retry_after, transient, uncertain
from .tokens import COMPUTE_MICROVERSION, SERVICES, TokenCache, endpoint

API_TIMEOUT = 30.0
CONCURRENT_REQUESTS = 8
PAGE = 1000

SDK_MISSING = (
    "the Python package openstacksdk is missing for {python}: install it there (pip install openstacksdk), "
    "or point ansible_python_interpreter at a Python that has it"
)


@dataclass(frozen=True)
class CloudSettings:
    """Everything that says how to reach a cloud. None means: as openstacksdk finds it.

    Attributes:
        cloud: a name in clouds.yaml.
        auth: Keystone settings; overrides the cloud's.
        region_name: the region (at Selectel: the pool).
        interface: which endpoints of the catalog are used.
        validate_certs: whether TLS certificates are checked.
        ca_cert: a file with certificates of authorities.
        api_timeout: seconds that one request may take.
        compute_microversion: Nova's microversion.
        token_cache: directory of the token cache; empty string: no cache; None: the user's cache directory.
    """

    cloud: str | None = None
    auth: Mapping[str, Any] | None = None
    region_name: str | None = None
    interface: str | None = None
    validate_certs: bool | None = None
    ca_cert: str | None = None
    api_timeout: float = API_TIMEOUT
    compute_microversion: str = COMPUTE_MICROVERSION
    token_cache: str | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> CloudSettings:
        """From the options of the documentation fragment `cloud`."""
        auth = {k: v for k, v in (options.get("auth") or {}).items() if v is not None}
        return cls(
            cloud=options.get("cloud"),
            auth=auth or None,
            region_name=options.get("region_name"),
            interface=options.get("interface"),
            validate_certs=options.get("validate_certs"),
            ca_cert=options.get("ca_cert"),
            api_timeout=float(options.get("api_timeout") or API_TIMEOUT),
            compute_microversion=str(options.get("compute_microversion") or COMPUTE_MICROVERSION),
            token_cache=options.get("token_cache"),
        )


def resolve(settings: CloudSettings) -> Any:
    """The SDK's configuration of one region.

    Raises:
        ConfigError: nothing, or something contradictory, is configured.
    """
    try:
        import openstack.config  # noqa: PLC0415  (a third of a CPU second: at_most_one when a connection is made)
        from openstack import exceptions  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(SDK_MISSING.format(python=sys.executable)) from error
    arguments: dict[str, Any] = {
        "cloud": settings.cloud,
        "region_name": settings.region_name,
        "interface": settings.interface,
        "verify": settings.validate_certs,
        "cacert": settings.ca_cert,
        "auth": dict(settings.auth) if settings.auth else None,
    }
    arguments = {k: v for k, v in arguments.items() if v is not None}
    if settings.auth and "application_credential_secret" in settings.auth:
        arguments["auth_type"] = "v3applicationcredential"
    loader = None
    try:
        loader = openstack.config.OpenStackConfig()
        region = loader.get_one(**arguments)
        auth = region.config.get("auth") or {}
        url = str(auth.get("auth_url") or "").rstrip("/")
        # The generic plugin asks Keystone for its versions first; an address that names the version needs that not
        plain = region.config.get("auth_type") in (None, "", "password") and url.endswith("/v3")
        if plain and not any(k.startswith("default_domain") for k in auth):
            region = loader.get_one(**{**arguments, "auth_type": "v3password"})
    except (exceptions.ConfigException, exceptions.SDKException) as error:
        raise ConfigError(_config_message(settings, loader, str(error))) from error
    except Exception as error:  # keystoneauth's loaders raise their own kinds, YAML its own
        if type(error).__module__.split(".", maxsplit=1)[0] not in ("keystoneauth1", "yaml", "builtins"):
            raise
        raise ConfigError(_config_message(settings, loader, str(error))) from error
    if not (region.config.get("auth") or {}).get("auth_url") and region.config.get("auth_type") != "none":
        raise ConfigError(_config_message(settings, loader, "no auth_url"))
    return region


def _config_message(settings: CloudSettings, loader: Any, detail: str) -> str:
    detail = " ".join(detail.split())
    named = settings.cloud or os.environ.get("OS_CLOUD")
    names: Sequence[str] = ()
    file = None
    if loader is not None:
        with contextlib.suppress(Exception):
            names = sorted(n for n in loader.get_cloud_names() if n not in ("envvars", "defaults"))
        file = getattr(loader, "config_filename", None)
    damage = None if file else _damage(os.environ.get("OS_CLIENT_CONFIG_FILE"))
    if damage:
        return damage
    where = f"clouds.yaml ({file})" if file else "clouds.yaml (none was found; OS_CLIENT_CONFIG_FILE can name one)"
    if named and named not in names:
        known = f"it has: {', '.join(names)}" if names else "it names no cloud"
        return f"cloud '{named}' is not in {where}; {known}. Set `cloud` (or OS_CLOUD) to one of them"
    if not named and not settings.auth and not os.environ.get("OS_AUTH_URL"):
        known = f"; it has: {', '.join(names)}" if names else ""
        return f"no cloud is named: set `cloud` (or OS_CLOUD) to a name in {where}{known}, or give `auth`"
    return f"the settings of the cloud{f' {named!r}' if named else ''} are not complete or wrong: {detail}"


def _damage(path: str | None) -> str | None:
    """Why the file that OS_CLIENT_CONFIG_FILE names is no use: the SDK passes over such a file in silence."""
    if not path:
        return None
    try:
        import yaml  # noqa: PLC0415  (comes with the SDK)

        yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        return f"OS_CLIENT_CONFIG_FILE names {path}, which cannot be read: {error.strerror}"
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        return f"{path} is not valid YAML" + (f" (line {mark.line + 1})" if mark else "")
    return None


# What a clouds.yaml elsewhere needs; everything else is the SDK's own default
EXPORTED = ("region_name", "interface", "verify", "cacert", "cert", "key", "auth_type", "profile")


def exported(settings: CloudSettings, name: str | None = None) -> dict[str, Any]:
    """The settings as the content of a clouds.yaml. Contains secrets.

    Args:
        settings: what to resolve.
        name: the cloud's name in the result; by default its own.

    Raises:
        ConfigError: nothing usable is configured.
    """
    region = resolve(settings)
    config = region.config
    entry: dict[str, Any] = {"auth": {k: v for k, v in config["auth"].items() if v is not None}}
    entry.update({k: config[k] for k in EXPORTED if config.get(k) not in (None, "", True)})
    if entry.get("auth_type") in ("password", "v3password"):
        del entry["auth_type"]
    own = region.name if region.name not in (None, "", "envvars", "defaults") else "cloud"
    return {"clouds": {name or own: entry}}


@dataclass
class Answer:
    """An API's answer."""

    status: int
    data: Any
    request_id: str | None


@dataclass
class Deadline:
    """A point in time until which everything has to be done."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def left(self) -> float:
        """Seconds left; negative when it has passed."""
        return self.started + self.seconds - self.clock()


class Cloud:
    """One region of one cloud, seen by one project. Can be used from several threads."""

    def __init__(self, settings: CloudSettings, deadline: Deadline | None = None) -> None:
        """Resolves the settings; makes no request yet.

        Raises:
            ConfigError: the settings are incomplete or wrong.
        """
        self.settings = settings
        self.deadline = deadline or Deadline(600.0)
        self.config = resolve(settings)
        self.session = self.config.get_session()
        self.session.timeout = settings.api_timeout
        self.region: str = self.config.config.get("region_name") or ""
        self.interface: str = settings.interface or self.config.config.get("interface") or "public"
        auth = self.config.config.get("auth") or {}
        self.auth_url = str(auth.get("auth_url", ""))
        self._who = _identity(auth)
        self._plugin = self.session.auth
        self._cache = TokenCache(settings.token_cache, self._plugin.get_cache_id())
        self._saved: str | None = None
        self._catalog: list[dict[str, Any]] | None = None
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(CONCURRENT_REQUESTS)
        self.calls = 0
        self.session.session.hooks["response"].append(self._count)

    def _count(self, response: Any, *_args: Any, **_kwargs: Any) -> Any:
        with self._lock:
            self.calls += 1
        return response

    # -- token --------------------------------------------------------------------------------------------------

    def authenticate(self) -> None:
        """Makes sure that there is a token, from the cache if it is still good.

        Raises:
            AuthError: Keystone refuses the credentials.
            UnreachableError: Keystone does not answer.
        """
        if self._catalog is not None:
            return
        saved = self._cache.load()
        if saved:
            with contextlib.suppress(Exception):  # whatever is wrong with the file: a new token is the answer
                self._plugin.set_auth_state(saved)
                self._saved = saved
        access = self._get_access()
        self._catalog = list(access.service_catalog.catalog) if access.has_service_catalog() else []
        self.save_token()

    def _get_access(self) -> Any:
        from keystoneauth1 import exceptions  # noqa: PLC0415

        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._plugin.get_access(self.session)
            except exceptions.Unauthorized as error:
                raise AuthError(
                    f"Keystone at {self.auth_url} refuses the credentials of {self._who}: check user name, password, "
                    "domain and project (for Selectel: a service user, the account's number as domain)"
                ) from error
            except exceptions.SSLError as error:
                raise ConfigError(
                    f"the TLS certificate of {self.auth_url} is not accepted: {_short(error)}; set `ca_cert`"
                ) from error
            except (
                exceptions.HttpError,
                exceptions.ConnectionError,
                exceptions.DiscoveryFailure,
                exceptions.InvalidResponse,
            ) as error:
                failure = _failure_of(error)
                status = getattr(error, "http_status", None)
                delay = next_delay(failure, attempt, repeatable=True)
                if delay is None or delay >= self.deadline.left() or status == 404:
                    hint = "check `auth_url` (it ends in /v3), the network and the provider's status page"
                    raise UnreachableError(
                        f"Keystone at {self.auth_url} gives no token after {attempt} attempt(s): "
                        f"{_short(error)}; {hint}"
                    ) from error
            except exceptions.ClientException as error:  # missing options and the like
                raise ConfigError(f"cannot log in at {self.auth_url} as {self._who}: {_short(error)}") from error
            time.sleep(delay)
        raise AssertionError("unreachable: next_delay ends the loop")  # pragma: no cover

    def save_token(self) -> None:
        """Writes the token to the cache if it is a new one."""
        state = self._plugin.get_auth_state()
        if state and state != self._saved:
            self._cache.save(state)
            self._saved = state

    def url(self, service: str) -> str:
        """The address of a service (a key of `SERVICES`)."""
        kind = SERVICES[service][0][-1]
        override = self.config.get_endpoint(kind)
        if override:
            return str(override).rstrip("/")
        self.authenticate()
        return endpoint(self._catalog or [], service, self.interface, self.region or None)

    # -- requests -----------------------------------------------------------------------------------------------

    def request(
        self,
        service: str,
        method: str,
        path: str,
        *,
        doing: str,
        key: str = "",
        body: Any = None,
        repeatable: bool | None = None,
    ) -> Answer:
        """One request, sent again where that does no harm.

        Args:
            service: a key of `SERVICES`.
            method: HTTP method.
            path: below the service's address, with the query.
            doing: what it is for, as the beginning of a message ("creating the port of gpu-1").
            key: what the answer has to contain; without it, it counts as damaged.
            body: sent as JSON.
            repeatable: whether it may be carried out twice; by default everything but POST.

        Raises:
            LostAnswerError: a write that must not be repeated may have been carried out.
            UnreachableError: no usable answer.
            CloudError: the API refused it.
        """
        self.authenticate()
        url = self.url(service) + path
        may_repeat = method != "POST" if repeatable is None else repeatable
        said: list[str] = []
        for attempt in range(1, ATTEMPTS + 1):
            outcome = self._once(service, method, url, doing, key, body)
            if isinstance(outcome, Answer):
                return outcome
            failure, text, request_id = outcome
            said.append(text)
            if not transient(failure):
                raise from_response(doing, method, _shown(url), failure.status or 0, text, request_id)
            delay = next_delay(failure, attempt, repeatable=may_repeat)
            late = (delay or 0.0) >= self.deadline.left()
            if delay is None or late:
                break
            time.sleep(delay)
        what = f"{doing}: {method} {_shown(url)} failed {len(said)} time(s): {'; '.join(dict.fromkeys(said))}"
        what += f" (request id {request_id})" if request_id else ""
        if not may_repeat and uncertain(failure):
            raise LostAnswerError(what)
        if late:
            raise TimedOutError(f"{what}; the time-out of {self.deadline.seconds:.0f} s leaves no time for another")
        raise UnreachableError(what)

    def _once(
        self,
        service: str,
        method: str,
        url: str,
        doing: str,
        key: str,
        body: Any,
    ) -> Answer | tuple[Failure, str, str | None]:
        """One attempt: an answer, or what went wrong."""
        from keystoneauth1 import exceptions  # noqa: PLC0415

        left = self.deadline.left()
        if left <= 0:
            raise TimedOutError(f"{doing}: the time-out of {self.deadline.seconds:.0f} s has passed")
        headers = {"Accept": "application/json"}
        if service == "compute":
            version = self.settings.compute_microversion
            headers.update({"OpenStack-API-Version": f"compute {version}", "X-OpenStack-Nova-API-Version": version})
        arguments: dict[str, Any] = {} if body is None else {"json": body}
        try:
            with self._slots:
                response = self.session.request(
                    url,
                    method,
                    headers=headers,
                    raise_exc=False,
                    connect_retries=0,
                    redirect=False,
                    timeout=max(1.0, min(self.settings.api_timeout, left)),
                    **arguments,
                )
        except exceptions.Unauthorized as error:
            raise AuthError(f"{doing}: Keystone at {self.auth_url} does not renew the token of {self._who}") from error
        except exceptions.SSLError as error:
            raise UnreachableError(
                f"{doing}: the TLS certificate of {_shown(url)} is not accepted: {_short(error)}; set `ca_cert`"
            ) from error
        except exceptions.ClientException as error:
            return _failure_of(error), _short(error), None
        request_id = response.headers.get("x-openstack-request-id") or response.headers.get("x-compute-request-id")
        if response.status_code >= 400:
            failure = Failure(
                sent=True,
                status=response.status_code,
                retry_after=parse_retry_after(response.headers.get("Retry-After")),
            )
            text = response.text
            if transient(failure):
                text = f"HTTP {response.status_code} {api_message(text)}".strip()
            return failure, text, request_id
        if not key and not response.content:
            return Answer(response.status_code, None, request_id)
        damaged = f"HTTP {response.status_code} with an answer that is not JSON"
        try:
            data = response.json()
            if not key or key in data:
                return Answer(response.status_code, data, request_id)
            damaged = f"HTTP {response.status_code} with an answer that has no '{key}'; is it an OpenStack API?"
        except (ValueError, TypeError):
            pass
        return Failure(sent=True, status=response.status_code, malformed=True), damaged, request_id

    def get(self, service: str, path: str, key: str, doing: str) -> Any:
        """What a GET's answer has under a key."""
        return self.request(service, "GET", path, doing=doing, key=key).data[key]

    def _create(self, service: str, path: str, key: str, doing: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a POST has made."""
        return dict(self.request(service, "POST", path, doing=doing, key=key, body={key: dict(body)}).data[key])

    def pages(self, service: str, path: str, key: str, doing: str) -> Iterator[dict[str, Any]]:
        """All elements of a list, page by page."""
        marker = ""
        joint = "&" if "?" in path else "?"
        for _page in range(1000):
            data = self.request(service, "GET", f"{path}{joint}limit={PAGE}{marker}", doing=doing, key=key).data
            items = data[key]
            more = any(link.get("rel") == "next" for link in data.get(f"{key}_links") or ()) or data.get("next")
            yield from items
            if not more or not items:
                return
            marker = f"&marker={items[-1]['id']}"

    def delete(self, service: str, path: str, doing: str) -> None:
        """Deletes; what is not there any more is fine."""
        with contextlib.suppress(GoneError):
            self.request(service, "DELETE", path, doing=doing)

    # -- servers ------------------------------------------------------------------------------------------------

    def servers(self, query: str = "") -> list[Server]:
        """Every server of the project: one call per thousand."""
        path = "/servers/detail" + (f"?{query}" if query else "")
        return [Server.from_api(s) for s in self.pages("compute", path, "servers", "listing the servers")]

    def server(self, server_id: str) -> Server | None:
        """One server, None if it is gone."""
        try:
            data = self.get("compute", f"/servers/{server_id}", "server", f"reading the server {server_id}")
        except GoneError:
            return None
        return Server.from_api(data)

    def create_server(self, name: str, body: Mapping[str, Any]) -> str:
        """Requests a server; its id."""
        return str(self._create("compute", "/servers", "server", f"creating the server {name}", body)["id"])

    def act(self, server: Server, action: str) -> str | None:
        """Requests an action (a server that is not there any more: `GoneError`); the request's id."""
        path = f"/servers/{server.id}/action"
        doing = f"{action} of the server {server.name}"
        return self.request("compute", "POST", path, doing=doing, body={action: None}).request_id

    def action_failed(self, server_id: str, request_id: str | None) -> bool:
        """Whether Nova's record of a request says that it ended in an error."""
        if not request_id:
            return False
        try:
            data = self.get(
                "compute",
                f"/servers/{server_id}/os-instance-actions/{request_id}",
                "instanceAction",
                f"reading the actions of the server {server_id}",
            )
        except (ApiError, UnreachableError):  # not every cloud shows it
            return False
        failed = any(event.get("result") == "Error" for event in data.get("events") or ())
        return failed or data.get("message") == "Error"

    def delete_server(self, server: Server, *, force: bool = False) -> None:
        """Requests the deletion; `force` also of a server that waits to be reclaimed."""
        if force:
            with contextlib.suppress(GoneError):
                self.act(server, "forceDelete")
            return
        self.delete("compute", f"/servers/{server.id}", f"deleting the server {server.name}")

    def add_tag(self, server: Server, tag: str) -> None:
        """Adds one tag, leaving the others."""
        self.request("compute", "PUT", f"/servers/{server.id}/tags/{tag}", doing=f"tagging the server {server.name}")

    def set_metadata(self, server: Server, metadata: Mapping[str, str]) -> None:
        """Sets these keys, leaving the others."""
        self.request(
            "compute",
            "POST",
            f"/servers/{server.id}/metadata",
            doing=f"setting metadata of the server {server.name}",
            body={"metadata": dict(metadata)},
            repeatable=True,
        )

    def delete_metadata(self, server: Server, key: str) -> None:
        """Removes one key, leaving the others."""
        self.delete("compute", f"/servers/{server.id}/metadata/{key}", f"removing metadata of the server {server.name}")

    # -- volumes ------------------------------------------------------------------------------------------------

    def volumes(self, fleet: str) -> list[dict[str, Any]]:
        """The fleet's volumes."""
        every = self.pages("volume", "/volumes/detail", "volumes", "listing the volumes")
        return [v for v in every if (v.get("metadata") or {}).get(FLEET) == fleet]

    def volume(self, volume_id: str) -> dict[str, Any] | None:
        """One volume, None if it is gone."""
        try:
            return dict(self.get("volume", f"/volumes/{volume_id}", "volume", f"reading the volume {volume_id}"))
        except GoneError:
            return None

    def create_volume(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Requests a volume."""
        return self._create("volume", "/volumes", "volume", f"creating the volume of {name}", body)

    def delete_volume(self, volume_id: str, name: str) -> None:
        """Requests the deletion of a volume."""
        self.delete("volume", f"/volumes/{volume_id}", f"deleting the volume of {name}")

    # -- network ------------------------------------------------------------------------------------------------

    def ports(self, fleet: str) -> list[dict[str, Any]]:
        """The fleet's ports."""
        every = self.get("network", "/ports", "ports", "listing the ports")
        return [p for p in every if (owner(p.get("description")) or ("",))[0] == fleet]

    def port(self, port_id: str) -> dict[str, Any] | None:
        """One port, None if it is gone."""
        try:
            return dict(self.get("network", f"/ports/{port_id}", "port", f"reading the port {port_id}"))
        except GoneError:
            return None

    def create_port(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Creates a port."""
        return self._create("network", "/ports", "port", f"creating the port of {name}", body)

    def update_port(self, port_id: str, name: str, body: Mapping[str, Any]) -> None:
        """Changes a port."""
        doing = f"changing the port of {name}"
        self.request("network", "PUT", f"/ports/{port_id}", doing=doing, body={"port": dict(body)})

    def delete_port(self, port_id: str, name: str) -> None:
        """Deletes a port."""
        self.delete("network", f"/ports/{port_id}", f"deleting the port of {name}")

    def floating_ips(self, fleet: str) -> list[dict[str, Any]]:
        """The fleet's floating IPs."""
        every = self.get("network", "/floatingips", "floatingips", "listing the floating IPs")
        return [f for f in every if (owner(f.get("description")) or ("",))[0] == fleet]

    def create_floating_ip(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Creates a floating IP."""
        return self._create("network", "/floatingips", "floatingip", f"creating the floating IP of {name}", body)

    def update_floating_ip(self, floating_ip_id: str, name: str, port_id: str) -> None:
        """Points a floating IP at a port."""
        body = {"floatingip": {"port_id": port_id}}
        doing = f"pointing the floating IP of {name} at its port"
        self.request("network", "PUT", f"/floatingips/{floating_ip_id}", doing=doing, body=body)

    def delete_floating_ip(self, floating_ip_id: str, name: str) -> None:
        """Gives a floating IP back."""
        self.delete("network", f"/floatingips/{floating_ip_id}", f"deleting the floating IP of {name}")


@contextlib.contextmanager
def connect(options: Mapping[str, Any], timeout: float = 600.0) -> Iterator[Cloud]:
    """A logged-in `Cloud` from a plugin's options; a renewed token is kept at the end.

    Raises:
        CloudError: with one message that names the thing and the fix.
    """
    cloud = Cloud(CloudSettings.from_options(options), Deadline(timeout))
    try:
        cloud.authenticate()
        yield cloud
    finally:
        cloud.save_token()
        cloud.session.session.close()


def at_most_one(found: Sequence[Mapping[str, Any]], what: str, name: str, fleet: str) -> Mapping[str, Any] | None:
    """The one element, or None.

    Raises:
        AmbiguousError: there are several; the message lists their ids.
    """
    if len(found) > 1:
        ids = ", ".join(sorted(str(item["id"]) for item in found))
        raise AmbiguousError(
            f"{len(found)} {what}s belong to the server '{name}' of the fleet '{fleet}': {ids}. "
            "Delete the wrong ones, or take the fleet's name off them"
        )
    return found[0] if found else None


def volume_server(volume: Mapping[str, Any]) -> str | None:
    """The name of the server that a volume of ours belongs to."""
    return (volume.get("metadata") or {}).get(SERVER)


def _identity(auth: Mapping[str, Any]) -> str:
    """Who logs in, for messages; names no secret."""
    user = auth.get("username") or auth.get("user_id") or auth.get("application_credential_id") or "(no user name)"
    project = auth.get("project_name") or auth.get("project_id")
    return f"'{user}'" + (f" in project '{project}'" if project else "")


def _shown(url: str) -> str:
    return url.split("?", maxsplit=1)[0]


def _short(error: BaseException) -> str:
    """An exception in one short line, without object addresses."""
    text = re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>:? ?", "", " ".join(str(error).split()))
    text = re.sub(r"HTTPS?ConnectionPool\(host='([^']*)', port=(\d+)\): Max retries exceeded with url: \S+ ", r"", text)
    return text[:300] or type(error).__name__


def _failure_of(error: Exception) -> Failure:
    """Whether a request that raised can have reached the API."""
    status = getattr(error, "http_status", None)
    if status:
        return Failure(sent=True, status=int(status))
    cause: BaseException | None = error
    for _depth in range(10):
        if cause is None:
            break
        names = {kind.__name__ for kind in type(cause).__mro__}
        # keystoneauth calls every time-out a ConnectTimeout; requests means it
        if "NewConnectionError" in names or (
            "ConnectTimeout" in names and type(cause).__module__.startswith("requests")
        ):
            return Failure(sent=False)
        cause = cause.__cause__ or cause.__context__
    return Failure(sent="NewConnectionError" not in str(error) and "Connection refused" not in str(error))


__all__ = [
    "Cloud",
    "CloudError",
    "CloudSettings",
    "TokenCache",
    "at_most_one",
    "connect",
    "endpoint",
    "exported",
    "resolve",
    "volume_server",
]
