"""How answers are written."""

from typing import Any

import orjson
from starlette.responses import Response


class Json(Response):
    """A JSON answer; keys keep their order, which is Connect's."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


def error(status: int, message: str, headers: dict[str, str] | None = None) -> Json:
    """Connect's shape of an error."""
    return Json({"error_code": status, "message": message}, status_code=status, headers=headers)
