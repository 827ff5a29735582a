"""How answers are written."""

from typing import Any, Final

import orjson
from starlette.responses import Response

# On an answer to another worker: it asked the wrong one, and should look again whom to ask.
NOT_MINE: Final = "x-millstream-not-mine"


class Json(Response):
    """A JSON answer; keys keep their order, which is Connect's."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


def error(status: int, message: str, headers: dict[str, str] | None = None) -> Json:
    """Connect's shape of an error."""
    return Json({"error_code": status, "message": message}, status_code=status, headers=headers)
