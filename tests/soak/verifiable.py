"""VerifiableProducer and VerifiableConsumers under kills: `python -m tests.soak.verifiable --minutes 10`."""

from functools import partial

from ..support.java_trials import VerifiableTrial
from .soak import soak

if __name__ == "__main__":
    soak(
        "verifiable",
        {
            protocol: partial(VerifiableTrial, protocol=protocol, consumers=3, partitions=4)
            for protocol in ("consumer", "classic")
        },
    )
