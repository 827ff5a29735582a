use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::{Record, RecordAndOffset};
use serde_json::{json, Value};
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

const TIMEOUT_MS: i32 = 20_000;

/// What a client said, with Kafka's number if it has one.
pub struct Failure {
    pub code: Option<i16>,
    pub message: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::ServerError { protocol_error, .. } => number_of(protocol_error),
            _ => None,
        };
        Failure {
            code,
            message: error.to_string(),
        }
    }
}

/// rskafka knows errors by name only.
fn number_of(error: &ProtocolError) -> Option<i16> {
    (-1..200).find(|number| ProtocolError::new(*number).as_ref() == Some(error))
}

type Result<T> = std::result::Result<T, Failure>;
type Read = std::result::Result<Value, Error>;

struct Consumer {
    records: UnboundedReceiver<Read>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
pub struct Agent {
    client: Option<Client>,
    producers: HashMap<String, Compression>,
    consumers: HashMap<String, Consumer>,
    partitions: HashMap<(String, i32), Arc<PartitionClient>>,
}

impl Agent {
    pub async fn perform(&mut self, request: &Value) -> Result<Value> {
        match text(request, "op") {
            "connect" => self.connect(request).await,
            "reset" => Ok(self.reset()),
            "producer" => Ok(self.producer(request)),
            "produce" => self.produce(request).await,
            "consumer" => self.consumer(request).await,
            "poll" => self.poll(request).await,
            "create_topic" => self.create_topic(request).await,
            "delete_topic" => self.delete_topic(request).await,
            "list_topics" => self.list_topics().await,
            "describe_topic" => self.describe_topic(request).await,
            "list_offset" => self.list_offset(request).await,
            "delete_records" => self.delete_records(request).await,
            other => Err(failure(format!("no operation {other}"))),
        }
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("connected")
    }

    async fn connect(&mut self, a: &Value) -> Result<Value> {
        self.client = Some(
            ClientBuilder::new(vec![text(a, "bootstrap").into()])
                .build()
                .await?,
        );
        Ok(Value::Null)
    }

    fn reset(&mut self) -> Value {
        for reader in self.consumers.drain().flat_map(|(_, consumer)| consumer.readers) {
            reader.abort();
        }
        self.producers.clear();
        self.partitions.clear();
        Value::Null
    }

    async fn partition(&mut self, topic: &str, number: i32) -> Result<Arc<PartitionClient>> {
        if let Some(known) = self.partitions.get(&(topic.into(), number)) {
            return Ok(known.clone());
        }
        let found = self
            .client()
            .partition_client(topic, number, UnknownTopicHandling::Error)
            .await?;
        let found = Arc::new(found);
        self.partitions.insert((topic.into(), number), found.clone());
        Ok(found)
    }

    fn producer(&mut self, a: &Value) -> Value {
        let compression = match a["compression"].as_str() {
            Some("gzip") => Compression::Gzip,
            Some("snappy") => Compression::Snappy,
            Some("lz4") => Compression::Lz4,
            Some("zstd") => Compression::Zstd,
            _ => Compression::NoCompression,
        };
        self.producers.insert(text(a, "handle").into(), compression);
        Value::Null
    }

    /// One batch for each partition.
    async fn produce(&mut self, a: &Value) -> Result<Value> {
        let compression = self.producers[text(a, "handle")];
        let mut batches: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
        for record in a["records"].as_array().expect("records") {
            let partition = record["partition"].as_i64().unwrap_or(0) as i32;
            batches.entry(partition).or_default().push(from_test(record));
        }
        let mut done = Vec::new();
        for (number, records) in batches {
            let partition = self.partition(text(a, "topic"), number).await?;
            let produced = partition.produce(records, compression).await;
            if produced.is_err() {
                self.partitions.clear(); // the topic may have been made anew
            }
            done.extend(produced?.into_iter().map(|offset| json!([number, offset])));
        }
        Ok(done.into())
    }

    async fn consumer(&mut self, a: &Value) -> Result<Value> {
        let wait_ms = a["fetch_max_wait_ms"].as_i64().unwrap_or(500) as i32;
        let bytes_max = a["fetch_max_bytes"].as_i64().unwrap_or(52_428_800) as i32;
        let (sender, records) = unbounded_channel();
        let mut readers = Vec::new();
        for position in a["positions"].as_array().expect("positions") {
            let topic = position[0].as_str().expect("a topic");
            let number = position[1].as_i64().expect("a partition") as i32;
            // With a connection of its own: requests of one connection wait for each other.
            let partition = self
                .client()
                .partition_client(topic, number, UnknownTopicHandling::Error)
                .await?;
            let partition = Arc::new(partition);
            let offset = match position[2].as_i64().expect("an offset") {
                -2 => partition.get_offset(OffsetAt::Earliest).await?,
                -1 => partition.get_offset(OffsetAt::Latest).await?,
                offset => offset,
            };
            readers.push(tokio::spawn(read(
                partition,
                offset,
                bytes_max,
                wait_ms,
                sender.clone(),
            )));
        }
        self.consumers
            .insert(text(a, "handle").into(), Consumer { records, readers });
        Ok(Value::Null)
    }

    async fn poll(&mut self, a: &Value) -> Result<Value> {
        let consumer = self.consumers.get_mut(text(a, "handle")).expect("a consumer");
        let wait = Duration::from_millis(a["timeout_ms"].as_u64().unwrap_or(200));
        let mut records = Vec::new();
        if let Ok(Some(first)) = tokio::time::timeout(wait, consumer.records.recv()).await {
            records.push(first?);
            while let Ok(next) = consumer.records.try_recv() {
                records.push(next?);
            }
        }
        Ok(json!({ "records": records, "assignment": [], "revoked": [] }))
    }

    async fn create_topic(&mut self, a: &Value) -> Result<Value> {
        let partitions = a["partitions"].as_i64().expect("partitions") as i32;
        let replicas = a["replicas"].as_i64().unwrap_or(1) as i16;
        let controller = self.client().controller_client()?;
        controller
            .create_topic(text(a, "topic"), partitions, replicas, TIMEOUT_MS)
            .await?;
        Ok(Value::Null)
    }

    async fn delete_topic(&mut self, a: &Value) -> Result<Value> {
        self.client()
            .controller_client()?
            .delete_topic(text(a, "topic"), TIMEOUT_MS)
            .await?;
        Ok(Value::Null)
    }

    async fn list_topics(&mut self) -> Result<Value> {
        let topics = self.client().list_topics().await?;
        Ok(topics
            .into_iter()
            .map(|topic| topic.name)
            .collect::<Vec<_>>()
            .into())
    }

    /// rskafka does not tell leaders: 0 stands for each.
    async fn describe_topic(&mut self, a: &Value) -> Result<Value> {
        let topics = self.client().list_topics().await?;
        let topic = topics.into_iter().find(|topic| topic.name == text(a, "topic"));
        let partitions = topic
            .ok_or_else(|| failure("no such topic".into()))?
            .partitions
            .len();
        Ok(json!({ "partitions": partitions, "leaders": vec![0; partitions] }))
    }

    async fn list_offset(&mut self, a: &Value) -> Result<Value> {
        let at = match a["at"].as_i64().expect("at") {
            -2 => OffsetAt::Earliest,
            -1 => OffsetAt::Latest,
            timestamp => OffsetAt::Timestamp(time(timestamp)),
        };
        let partition = self
            .partition(text(a, "topic"), a["partition"].as_i64().unwrap_or(0) as i32)
            .await?;
        Ok(partition.get_offset(at).await?.into())
    }

    async fn delete_records(&mut self, a: &Value) -> Result<Value> {
        let partition = self
            .partition(text(a, "topic"), a["partition"].as_i64().unwrap_or(0) as i32)
            .await?;
        partition
            .delete_records(a["before"].as_i64().expect("before"), TIMEOUT_MS)
            .await?;
        Ok(Value::Null)
    }
}

/// Fetches on and on: a fetch that waits at the broker must not be given up, or the next one queues behind it.
async fn read(
    partition: Arc<PartitionClient>,
    mut offset: i64,
    bytes_max: i32,
    wait_ms: i32,
    sender: UnboundedSender<Read>,
) {
    loop {
        match partition.fetch_records(offset, 1..bytes_max, wait_ms).await {
            Ok((records, _)) => {
                for record in records {
                    offset = record.offset + 1;
                    if sender.send(Ok(for_test(&partition, record))).is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                let _ = sender.send(Err(error)); // a closed consumer has no use for it
                return;
            }
        }
    }
}

fn from_test(record: &Value) -> Record {
    let bytes = |value: &Value| value.as_str().map(|text| text.as_bytes().to_vec());
    let headers = record["headers"].as_array().into_iter().flatten();
    Record {
        key: bytes(&record["key"]),
        value: bytes(&record["value"]),
        headers: headers
            .map(|pair| (text_of(&pair[0]), bytes(&pair[1]).unwrap_or_default()))
            .collect(),
        timestamp: record["timestamp"].as_i64().map(time).unwrap_or_else(now),
    }
}

fn for_test(partition: &PartitionClient, read: RecordAndOffset) -> Value {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let record = read.record;
    let headers: Vec<_> = record
        .headers
        .into_iter()
        .map(|(name, value)| json!([name, text(value)]))
        .collect();
    json!({
        "topic": partition.topic(),
        "partition": partition.partition(),
        "offset": read.offset,
        "timestamp": record.timestamp.timestamp_millis(),
        "key": record.key.map(text),
        "value": record.value.map(text),
        "headers": headers,
    })
}

fn now() -> DateTime<Utc> {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    time(since.as_millis() as i64)
}

fn time(timestamp_ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(timestamp_ms).expect("a time")
}

fn text<'a>(arguments: &'a Value, name: &str) -> &'a str {
    arguments[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} is missing"))
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("text").into()
}

fn failure(message: String) -> Failure {
    Failure { code: None, message }
}
