"""Object keys: `{topics.dir}/{topic}/{encoded partition}/{topic}+{partition}+{start offset}{extension}`."""

from dataclasses import dataclass

from connect.api import TopicPartition
from connectors.s3.config import S3SinkConfig


@dataclass(frozen=True, slots=True)
class Naming:
    """Makes the key of an object from what it holds: that alone, so that a second try has the same key."""

    topics_dir: str
    directory_delimiter: str
    file_delimiter: str
    offset_digits: int

    @classmethod
    def of(cls, config: S3SinkConfig) -> "Naming":
        return cls(
            config.topics_dir,
            config.directory_delim,
            config.file_delim,
            config.filename_offset_zero_pad_width,
        )

    def key(self, topic: str, place: str, source: TopicPartition, start_offset: int, extension: str) -> str:
        """`topic` names the folder, and is another than that of `source` where a transform changed it;
        the file is named by where its records come from, which is unique."""
        offset = str(start_offset).zfill(self.offset_digits)
        name = self.file_delimiter.join([source.topic, str(source.partition), offset]) + extension
        folders = [self.topics_dir] if self.topics_dir.strip() else []
        return self.directory_delimiter.join([*folders, topic, place, name])
