"""Copiers in transactions under kills: `python -m tests.soak.transactional_copier --minutes 10`."""

from functools import partial

from ..support.java_trials import Copiers, CopierTrial
from .soak import soak

if __name__ == "__main__":
    soak(
        "transactional_copier",
        {who: partial(CopierTrial, who=who, copiers=3, partitions=4) for who in Copiers},
    )
