"""The states of a classic group, and how it may move between them."""

from enum import Enum


class GroupState(Enum):
    """Values are the names that ListGroups and DescribeGroups use."""

    EMPTY = "Empty"
    """No members. The group may have committed offsets."""
    PREPARING_REBALANCE = "PreparingRebalance"
    """Waits for members to join the next generation."""
    COMPLETING_REBALANCE = "CompletingRebalance"
    """The generation's members are known; waits for the leader's assignment."""
    STABLE = "Stable"
    """The generation has its assignment."""
    DEAD = "Dead"
    """Deleted."""


TRANSITIONS: dict[GroupState, frozenset[GroupState]] = {
    GroupState.EMPTY: frozenset({GroupState.PREPARING_REBALANCE, GroupState.DEAD}),
    GroupState.PREPARING_REBALANCE: frozenset({GroupState.COMPLETING_REBALANCE, GroupState.EMPTY}),
    GroupState.COMPLETING_REBALANCE: frozenset({GroupState.STABLE, GroupState.PREPARING_REBALANCE}),
    GroupState.STABLE: frozenset({GroupState.PREPARING_REBALANCE}),
    GroupState.DEAD: frozenset(),
}
