"""All that a plugin may import: connectors, tasks, records, schemas, settings, errors."""

from connect.api.config import (
    Config,
    Definition,
    FieldError,
    FieldWarning,
    Importance,
    Kind,
    Width,
    setting,
)
from connect.api.connectors import (
    Connector,
    SinkConnector,
    SinkTask,
    SinkTaskContext,
    SourceConnector,
    SourceTask,
    SourceTaskContext,
    TransactionContext,
)
from connect.api.errors import ConfigError, ConnectError, DataError, RetriableError, SchemaBuilderError
from connect.api.metrics import TaskMetrics
from connect.api.plugins import ConfigProvider, Converter, HeaderConverter, Plugin, Predicate, Transform
from connect.api.record_batches import JsonRecords, RecordBatch
from connect.api.records import (
    ConnectRecord,
    Header,
    JsonPayload,
    SchemaAndValue,
    SinkRecord,
    SourceRecord,
    TimestampType,
    TopicPartition,
)
from connect.api.schemas import Field, Schema, SchemaType

__all__ = [
    "Config",
    "ConfigError",
    "ConfigProvider",
    "ConnectError",
    "ConnectRecord",
    "Connector",
    "Converter",
    "DataError",
    "Definition",
    "Field",
    "FieldError",
    "FieldWarning",
    "Header",
    "HeaderConverter",
    "Importance",
    "JsonPayload",
    "JsonRecords",
    "Kind",
    "Plugin",
    "Predicate",
    "RecordBatch",
    "RetriableError",
    "Schema",
    "SchemaAndValue",
    "SchemaBuilderError",
    "SchemaType",
    "SinkConnector",
    "SinkRecord",
    "SinkTask",
    "SinkTaskContext",
    "SourceConnector",
    "SourceRecord",
    "SourceTask",
    "SourceTaskContext",
    "TaskMetrics",
    "TimestampType",
    "TopicPartition",
    "TransactionContext",
    "Transform",
    "Width",
    "setting",
]
