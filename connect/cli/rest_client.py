"""Calls to a worker's REST API, with sentences for what goes wrong."""

import re
from typing import Any
from urllib.parse import quote

import httpx

from connect.cli.failure import Failure

# A create waits until the connector has been validated, which may mean a slow database.
TIMEOUT_SECONDS = 90.0


class Worker:
    def __init__(self, url: str) -> None:
        self._url = url
        self._shown = _without_password(url)

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer, None where there is none; `Failure` with the worker's own sentence."""
        response = self.response(method, path, body)
        if response.is_error:
            raise Failure(_message(response))
        return response.json() if response.content else None

    def response(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Any answer, refusals too; `Failure` if there is none."""
        try:
            return httpx.request(method, self._url + path, json=body, timeout=TIMEOUT_SECONDS)
        except httpx.InvalidURL as exc:
            raise Failure(f"{self._shown} is no URL: {exc} (--url or MILLSTREAM_URL)") from None
        except httpx.TimeoutException:
            raise Failure(
                f"the worker at {self._shown} did not answer within {TIMEOUT_SECONDS:.0f} s"
            ) from None
        except httpx.TransportError as exc:
            raise Failure(
                f"no worker answers at {self._shown} ({exc}): start one with `millstream up`, "
                "or say where it is with --url or MILLSTREAM_URL"
            ) from None


def connector_path(name: str, *parts: str) -> str:
    """`/connectors/NAME/…` for any name."""
    return "/".join(["/connectors", quote(name, safe=""), *parts])


def _without_password(url: str) -> str:
    return re.sub(r"//[^/]*@", "//", url)


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        url = _without_password(str(response.request.url))
        return f"HTTP {response.status_code} from {url}: is that a Kafka Connect worker?"
