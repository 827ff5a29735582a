"""Which settings sound as if they held a secret, and texts without the secrets."""

import re
from collections.abc import Iterable
from typing import Final

from connect.api.config import HIDDEN

# For settings that no definition describes: client overrides, settings of transforms and converters,
# connectors that are not installed. Kafka's own names of type PASSWORD are among them.
_SOUNDS_SECRET: Final = re.compile(
    r"(^|[._-])(pass(word|wd|phrase)?|pwd|secrets?|tokens?|credentials?|private[._-]?key"
    r"|(api|access|account|secret)[._-]?key|connection[._-]?string|sasl\.jaas\.config|auth\.user\.info|ssl\.key"
    r"|ssl\.keystore\.(key|certificate\.chain)"
    r"|ssl\.truststore\.certificates)($|[._-])",
    re.IGNORECASE,
)
_LONG_ENOUGH: Final = 4  # a secret that is shorter is looked for as a whole word


def sounds_secret(name: str) -> bool:
    return _SOUNDS_SECRET.search(name) is not None


def hide(text: str, secrets: Iterable[str]) -> str:
    """The text with `[hidden]` for each of these values."""
    for secret in sorted(secrets, key=len, reverse=True):
        pattern = re.escape(secret)
        text = re.sub(pattern if len(secret) >= _LONG_ENOUGH else rf"(?<!\w){pattern}(?!\w)", HIDDEN, text)
    return text
