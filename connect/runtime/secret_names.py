"""Which settings sound as if they held a secret."""

import re
from typing import Final

# For settings that no definition describes: client overrides, settings of transforms and converters,
# connectors that are not installed. Kafka's own names of type PASSWORD are among them.
_SOUNDS_SECRET: Final = re.compile(
    r"(^|[._-])(pass(word|wd|phrase)?|pwd|secrets?|tokens?|credentials?|private[._-]?key|(api|access|secret)"
    r"[._-]?key|sasl\.jaas\.config|auth\.user\.info|ssl\.key|ssl\.keystore\.(key|certificate\.chain)"
    r"|ssl\.truststore\.certificates)($|[._-])",
    re.IGNORECASE,
)


def sounds_secret(name: str) -> bool:
    return _SOUNDS_SECRET.search(name) is not None
