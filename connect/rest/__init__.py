"""Kafka Connect's REST API over the worker's `ConnectService`."""
