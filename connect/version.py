"""Which Millstream this is."""

__version__ = "0.1.0"
# Kafka's own word for a build that does not know its commit.
COMMIT = "unknown"
