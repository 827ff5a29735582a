"""A Kafka Streams application, exactly once, under kills: `python -m tests.soak.streams --minutes 10`."""

from functools import partial

from ..support.java_trials import StreamsTrial
from .soak import soak

if __name__ == "__main__":
    soak(
        "streams",
        {
            "dynamic": partial(StreamsTrial, partitions=3),
            "static": partial(StreamsTrial, partitions=3, is_static=True),
        },
    )
