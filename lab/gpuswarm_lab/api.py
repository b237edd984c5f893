"""A small client of the OpenStack APIs, for the lab's own needs: password login, JSON in, JSON out."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from . import model
from .errors import LabError

MICROVERSIONS = {"nova": "compute 2.72", "placement": "placement 1.30"}


class ApiError(LabError):
    """An API's refusal.

    Args:
        status: HTTP status code.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """Calls the lab's services as one user of one project.

    Args:
        auth: ``username``, ``password``, ``user_domain_name``, ``project_name``, ``project_domain_name``.
    """

    def __init__(self, lab: model.Lab, auth: Mapping[str, str], timeout: float = 60) -> None:
        self.lab = lab
        self.timeout = timeout
        user = {"name": auth["username"], "password": auth["password"], "domain": {"name": auth["user_domain_name"]}}
        scope = {"project": {"name": auth["project_name"], "domain": {"name": auth["project_domain_name"]}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        self._token = ""
        _, headers = self._call("POST", "keystone", "/auth/tokens", body)
        self._token = headers["x-subject-token"]

    def get(self, service: str, path: str) -> Any:
        """GET; the answer's JSON."""
        return self._call("GET", service, path)[0]

    def post(self, service: str, path: str, body: object) -> Any:
        """POST a body; the answer's JSON, None if it has none."""
        return self._call("POST", service, path, body)[0]

    def put(self, service: str, path: str, body: object = None, *, content_type: str = "application/json") -> Any:
        """PUT a body (bytes are sent as they are); the answer's JSON, None if it has none."""
        return self._call("PUT", service, path, body, content_type)[0]

    def _call(
        self, method: str, service: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> tuple[Any, dict[str, str]]:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {
            "Content-Type": content_type,
            "Accept": "application/json",
            "X-Auth-Token": self._token,
            **({"OpenStack-API-Version": MICROVERSIONS[service]} if service in MICROVERSIONS else {}),
        }
        request = urllib.request.Request(self.lab.url(service) + path, data, headers, method=method)  # noqa: S310 (http)
        # The APIs are on this machine: a proxy that the environment names has nothing to do with them.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=self.timeout) as answer:
                text = answer.read()
                found = {name.lower(): value for name, value in answer.headers.items()}
        except urllib.error.HTTPError as error:
            detail = error.read().decode(errors="replace").strip()
            raise ApiError(f"{method} {service}{path}: HTTP {error.code} {detail[:300]}", error.code) from error
        except OSError as error:
            raise LabError(
                f"{service} does not answer at {self.lab.url(service)} ({error}); look at `lab/lab status`, "
                f"or start the lab with `lab/lab up`"
            ) from error
        return (json.loads(text) if text and "json" in found.get("content-type", "") else None), found
