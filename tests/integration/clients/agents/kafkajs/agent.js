// The agent of kafkajs. The operations are described in the README.md one folder up.
"use strict";

const readline = require("node:readline");
const { Kafka, logLevel } = require("kafkajs");
const codecs = require("./codecs");

const retry = { initialRetryTime: 50, maxRetryTime: 1000, retries: 20 };
const producers = new Map();
const consumers = new Map();
let bootstrap;
let admin;
let strangers = 0;

const connectionTo = (more = {}) =>
  new Kafka({ clientId: "agent", brokers: [bootstrap], logLevel: logLevel.NOTHING, retry, ...more });

const text = (raw) => (raw === null || raw === undefined ? null : raw.toString());

// Kafka's number for an error, wherever kafkajs has put it.
function errorCode(error) {
  const inside = [error, error.cause, error.originalError, ...(error.errors ?? []), ...(error.groups ?? [])];
  inside.push(...(error.partitions ?? []).map((partition) => partition.error));
  for (const one of inside) {
    const code = one?.code ?? one?.errorCode ?? one?.error?.code;
    if (typeof code === "number") return code;
  }
  return error.cause ? errorCode(error.cause) : null;
}

async function administer() {
  admin = connectionTo({ retry: { ...retry, retries: 5 } }).admin();
  await admin.connect();
}

class KafkaError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const operations = {
  async connect(a) {
    bootstrap = a.bootstrap;
    await administer();
  },

  async reset() {
    for (const handle of producers.keys()) await operations.close_producer({ handle }).catch(() => {});
    for (const handle of consumers.keys()) await operations.close_consumer({ handle }).catch(() => {});
    await admin.disconnect(); // one that knew a topic that is gone fails at everything after it
    await administer();
  },

  // --- producers

  async producer({ handle, acks = -1, compression = "none", idempotent = false, ...a }) {
    const producer = connectionTo().producer({
      allowAutoTopicCreation: false,
      createPartitioner: () => ({ message }) => message.partition,
      idempotent: idempotent || a.transactional_id !== undefined,
      transactionalId: a.transactional_id,
      transactionTimeout: a.transaction_timeout_ms,
      maxInFlightRequests: a.transactional_id === undefined ? 5 : 1,
    });
    await producer.connect();
    const opened = { producer, acks, compression: codecs[compression] };
    // The first transaction is what asks the broker for a producer id.
    if (a.transactional_id !== undefined) opened.transaction = await producer.transaction();
    producers.set(handle, opened);
  },

  async produce({ handle, topic, records }) {
    const { producer, transaction, acks, compression } = producers.get(handle);
    const messages = records.map((record) => ({
      key: record.key ?? null,
      value: record.value ?? null,
      partition: record.partition ?? 0,
      headers: headersOf(record),
      timestamp: record.timestamp?.toString(),
    }));
    const answers = await (transaction ?? producer).send({ topic, acks, compression, messages });
    const next = new Map((answers ?? []).map((one) => [one.partition, Number(one.baseOffset)]));
    return messages.map(({ partition }) => {
      const offset = next.get(partition) ?? -1;
      next.set(partition, offset + 1);
      return [partition, offset];
    });
  },

  async begin({ handle }) {
    const opened = producers.get(handle);
    opened.transaction ??= await opened.producer.transaction();
  },

  async send_offsets({ handle, group, offsets }) {
    const topics = offsets.map(([topic, partition, offset]) => ({
      topic,
      partitions: [{ partition, offset: String(offset) }],
    }));
    await producers.get(handle).transaction.sendOffsets({ consumerGroupId: group, topics });
  },

  async commit_transaction({ handle }) {
    await endTransaction(handle, "commit");
  },

  async abort_transaction({ handle }) {
    await endTransaction(handle, "abort");
  },

  async close_producer({ handle }) {
    const { producer } = producers.get(handle);
    producers.delete(handle);
    await producer.disconnect();
  },

  // --- consumers

  async consumer({ handle, topics, positions, read_committed = false, ...a }) {
    const maxWaitTimeInMs = a.fetch_max_wait_ms ?? 500;
    const consumer = connectionTo({ requestTimeout: maxWaitTimeInMs + 30_000 }).consumer({
      groupId: a.group ?? `stranger-${process.pid}-${Date.now()}-${strangers++}`,
      sessionTimeout: a.session_timeout_ms ?? 10_000,
      heartbeatInterval: 300,
      metadataMaxAge: 1000,
      maxWaitTimeInMs,
      maxBytes: a.fetch_max_bytes,
      maxBytesPerPartition: a.fetch_max_bytes,
      readUncommitted: !read_committed,
      allowAutoTopicCreation: false,
    });
    const opened = { consumer, group: a.group, records: [], assignment: [], revoked: [], failed: null };
    const starts = new Map((positions ?? []).map(([topic, partition, at]) => [`${topic}/${partition}`, at]));
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => assigned(opened, payload.memberAssignment));
    consumer.on(consumer.events.CRASH, ({ payload }) => {
      if (!payload.restart) opened.failed = payload.error;
    });
    consumers.set(handle, opened);
    await consumer.connect();
    const wanted = topics ?? [...new Set(positions.map(([topic]) => topic))];
    await consumer.subscribe({ topics: wanted, fromBeginning: !(positions ?? []).some((one) => one[2] === -1) });
    await consumer.run({ autoCommit: false, eachBatch: async (batch) => received(opened, starts, batch) });
    for (const [topic, partition, at] of positions ?? []) {
      if (at >= 0) consumer.seek({ topic, partition, offset: String(at) });
    }
  },

  async poll({ handle, limit = 500, timeout_ms = 200 }) {
    const opened = consumers.get(handle);
    const until = Date.now() + timeout_ms;
    while (opened.records.length === 0 && opened.failed === null && Date.now() < until) {
      await new Promise((done) => setTimeout(done, 5));
    }
    if (opened.failed !== null) throw opened.failed;
    const revoked = opened.revoked.splice(0);
    return { records: opened.records.splice(0, limit), assignment: opened.assignment, revoked };
  },

  async commit({ handle, offsets }) {
    const wanted = offsets.map(([topic, partition, offset, metadata]) => ({
      topic,
      partition,
      offset: String(offset),
      metadata,
    }));
    await consumers.get(handle).consumer.commitOffsets(wanted);
  },

  async committed({ handle }) {
    return operations.group_offsets({ group: consumers.get(handle).group });
  },

  async close_consumer({ handle }) {
    const { consumer } = consumers.get(handle);
    consumers.delete(handle);
    await consumer.disconnect();
  },

  ...require("./admin")({ admin: () => admin, KafkaError }),
};

function headersOf(record) {
  const headers = {};
  for (const [name, value] of record.headers ?? []) {
    headers[name] = name in headers ? [headers[name], value].flat() : value;
  }
  return headers;
}

async function endTransaction(handle, how) {
  const opened = producers.get(handle);
  const { transaction } = opened;
  opened.transaction = undefined;
  await transaction[how]();
}

function assigned(opened, byTopic) {
  const now = Object.entries(byTopic).flatMap(([topic, numbers]) => numbers.map((number) => [topic, number]));
  const same = (a) => (b) => a[0] === b[0] && a[1] === b[1];
  opened.revoked.push(...opened.assignment.filter((old) => !now.some(same(old))));
  opened.assignment = now.sort((a, b) => (a[0] === b[0] ? a[1] - b[1] : a[0] < b[0] ? -1 : 1));
}

async function received(opened, starts, { batch, resolveOffset, heartbeat }) {
  const start = starts.get(`${batch.topic}/${batch.partition}`) ?? 0;
  for (const message of batch.messages) {
    if (Number(message.offset) >= start) opened.records.push(forTest(batch, message));
    resolveOffset(message.offset);
  }
  await heartbeat();
}

function forTest(batch, message) {
  return {
    topic: batch.topic,
    partition: batch.partition,
    offset: Number(message.offset),
    timestamp: Number(message.timestamp),
    key: text(message.key),
    value: text(message.value),
    headers: Object.entries(message.headers).flatMap(([name, values]) =>
      [values].flat().map((value) => [name, text(value)]),
    ),
  };
}

async function answer({ op, ...rest }) {
  try {
    return { ok: (await operations[op](rest)) ?? null };
  } catch (error) {
    return { error: { code: errorCode(error), message: `${error.name}: ${error.message}` } };
  }
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
  }
  process.exit(0);
}

main();
