"""Where servers are unless told otherwise."""

from pathlib import Path
from typing import Final

DATA_DIR: Final = Path("millstream-data")
KAFKA_PORT: Final = 9092
REST_PORT: Final = 8083
