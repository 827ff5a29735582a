"""A seeded simulation of transactional producers: clients, a network, a disk and a broker that misbehave.

Everything is drawn from one seed: delays, answers that are lost, requests that arrive long after their
client has given up on them, clients that pause, are killed or are replaced while they live (and go on as
zombies), transactions that take longer than their timeout, a disk that fails or is full, a wall clock that
jumps, topics that are deleted, and a broker that is killed or loses power between any two steps.
`TransactionSimulation(seed).run()` raises `Violation` when something that must hold does not.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from support.transaction_world import GROUP, START_MS, ModelLog, TransactionWorld, batch

from broker.coordinator.records import TopicPartition
from broker.coordinator.transaction_coordinator import TransactionSettings
from broker.coordinator.transaction_messages import (
    AddOffsets,
    AddPartitions,
    EndTxn,
    InitProducerId,
    ProducerResult,
    VerifyOffsets,
)
from broker.coordinator.transaction_records import (
    PRODUCER_EPOCH_MAX,
    TransactionRecord,
    encode_transaction_record,
)
from broker.coordinator.transaction_state import TransactionState
from broker.wire.errors import ErrorCode, KafkaError

TROUBLE_MS = 5_000
CALM_MS = 30_000
HOUR_MS = 3_600_000
REQUEST_TIMEOUT_MS = 800
TRANSACTION_TIMEOUTS_MS = (700, 3_000)
PARTITIONS = [("t", 0), ("t", 1), ("u", 0)]

RETRIABLE = frozenset(
    {
        ErrorCode.concurrent_transactions,
        ErrorCode.coordinator_not_available,
        ErrorCode.not_enough_replicas,
        ErrorCode.kafka_storage_error,
    }
)
FATAL = frozenset(
    {
        ErrorCode.producer_fenced,
        ErrorCode.invalid_producer_epoch,
        ErrorCode.invalid_producer_id_mapping,
        ErrorCode.invalid_txn_state,
    }
)


class Violation(AssertionError):
    """Something that must hold did not."""


@dataclass(slots=True)
class Transaction:
    """What its producer knows of it."""

    number: int
    acked: set[TopicPartition] = field(default_factory=set)
    wants_commit: bool = False
    answered: str = ""
    """`commit` or `abort` once the producer was told so."""


class Oracle:
    """What must hold, judged by what clients were told and what the logs have."""

    def __init__(self) -> None:
        self.transactions: dict[int, Transaction] = {}
        self.owners: dict[tuple[int, int], Producer] = {}
        """Who was given a producer id and epoch."""
        self.newest: dict[str, Producer] = {}
        """The producer of each transactional id that was told last that it may begin."""
        self.producer_of: dict[int, Producer] = {}
        """By number of the transaction."""
        self.lost_topics: set[TopicPartition] = set()

    def initialized(self, producer: "Producer", request: InitProducerId, result: ProducerResult) -> None:
        self.give(producer, result.producer_id, result.producer_epoch)
        newest = self.newest.get(producer.transactional_id, producer)
        if request.producer_id >= 0 and newest is not producer:
            raise Violation(f"producer {producer.age} was fenced by {newest.age}, and may go on")
        self.newest[producer.transactional_id] = producer

    def give(self, producer: "Producer", producer_id: int, producer_epoch: int) -> None:
        if producer_epoch >= PRODUCER_EPOCH_MAX:
            raise Violation(f"{producer_id}: the last epoch, {producer_epoch}, is not for clients")
        owner = self.owners.setdefault((producer_id, producer_epoch), producer)
        if owner is not producer:
            raise Violation(f"{producer_id}, epoch {producer_epoch} was given to {owner.age}, {producer.age}")

    def appended(self, entry: Any) -> None:
        producer = self.producer_of[entry.number]
        if self.newest[producer.transactional_id] is not producer:
            raise Violation(f"producer {producer.age} was fenced, and wrote {entry.number}")

    def check(self, logs: dict[TopicPartition, ModelLog]) -> None:
        """All is quiet: every transaction has ended, everywhere in the same way, as its producer was told."""
        outcomes: defaultdict[int, set[str]] = defaultdict(set)
        found: defaultdict[int, set[TopicPartition]] = defaultdict(set)
        for partition, log in logs.items():
            open_numbers: defaultdict[int, set[int]] = defaultdict(set)
            for entry in log.entries:
                if entry.marker is None:
                    open_numbers[entry.header.producer_id].add(entry.number)
                    found[entry.number].add(partition)
                else:
                    for number in open_numbers.pop(entry.marker.producer_id, ()):
                        outcomes[number].add("commit" if entry.marker.is_commit else "abort")
            if open_numbers:
                raise Violation(f"{partition}: transactions {dict(open_numbers)} are open for ever")
        for number, outcome in outcomes.items():
            transaction = self.transactions[number]
            if len(outcome) > 1:
                raise Violation(f"transaction {number} is committed and aborted")
            if outcome == {"commit"} and not transaction.wants_commit:
                raise Violation(f"transaction {number} is committed, and nobody asked for it")
        for number, transaction in self.transactions.items():
            missing = transaction.acked - found[number] - self.lost_topics
            if transaction.answered and outcomes[number] - {transaction.answered}:
                raise Violation(f"{number}: {transaction.answered} answered, and it is {outcomes[number]}")
            if "commit" in outcomes[number] | {transaction.answered} and missing:
                raise Violation(f"transaction {number} is committed and lacks {missing}")


@dataclass(slots=True)
class Ask:
    """What a producer does next: `send(answer)` when it arrives. Without an answer in time it hears None."""

    send: Callable[[Callable[[Any], None]], None]
    may_be_late: bool
    """Whether it may arrive after the client has given it up; else the connection's end is its end, too."""


@dataclass(slots=True)
class Sleep:
    ms: int


Life = Generator[Ask | Sleep, Any, Any]


class TransactionSimulation:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.oracle = Oracle()
        self.is_calm = False
        self.numbers = count(1)
        self.ages = count(1)
        self.producer_ids = count(1000)
        expires = self.random.random() < 0.1
        self.world = TransactionWorld(
            TransactionSettings(
                expiration_ms=2_000 if expires else 7 * 24 * HOUR_MS, expiration_check_interval_ms=1_000
            ),
            PARTITIONS,
            self.oracle.appended,
            documents=self._documents(),
        )
        self._connection_epoch = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._disk_is_scheduled = False
        self._slowness = self.random.choice([0, 0, 0.8])
        """How often a sync of a log takes longer than one turn of the disk."""
        self.producers: list[Producer] = []
        for name in ("a", "b")[: self.random.randint(1, 2)]:
            self.start_producer(name, is_v2=self.random.random() < 0.6)

    def run(self) -> None:
        """6 s of trouble, then up to 30 s to settle. Raises Violation."""
        self._schedule_trouble()
        self._run_until(TROUBLE_MS)
        self.is_calm = True
        for log in self.world.logs.values():
            if log.failure is not None:  # an administrator starts the broker again
                self._crash()
                break
        for producer in self.producers:
            producer.is_stopping = True
        deadline_ms = TROUBLE_MS + CALM_MS
        while self.world.clock_ms < deadline_ms:
            self._run_until(self.world.clock_ms + 4_000)
            if not any(producer.is_alive for producer in self.producers) and self.world.is_settled:
                break
        else:
            raise Violation(f"not settled: {[p.step for p in self.producers if p.is_alive]}")
        # The last transactions of those that were killed have run out by now.
        self._run_until(self.world.clock_ms + max(TRANSACTION_TIMEOUTS_MS))
        self.oracle.check(self.world.logs)
        self.world.crash(len(self.world.stores), lambda log: len(log.entries))
        self.oracle.check(self.world.logs)

    def _documents(self) -> dict[str, bytes]:
        """What is stored at first: now and then a transactional id that has few epochs left."""
        if self.random.random() > 0.15:
            return {}
        epoch = PRODUCER_EPOCH_MAX - self.random.randint(1, 6)
        state = TransactionState.COMPLETE_COMMIT
        return {"a": encode_transaction_record(TransactionRecord(500, epoch, 1000, state, START_MS))}

    # For producers.

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.world.clock_ms + delay_ms, next(self.numbers), action))

    def start_producer(self, transactional_id: str, *, is_v2: bool) -> None:
        producer = Producer(self, transactional_id, next(self.ages), is_v2)
        self.producers.append(producer)
        self.after(self.random.randint(0, 200), lambda: producer.resume(producer.life(), None))

    def send(self, ask: Ask, hear: Callable[[Any], None], is_given_up: Callable[[], bool]) -> None:
        """The request arrives some time later, and its answer later still, if nothing is lost."""
        epoch = self._connection_epoch

        def answered(result: Any) -> None:
            if epoch == self._connection_epoch and (self.is_calm or self.random.random() > 0.02):
                self.after(self._network_ms(), lambda: hear(result))

        def arrive() -> None:
            if epoch == self._connection_epoch and (ask.may_be_late or not is_given_up()):
                ask.send(_once(answered))

        self.after(self._network_ms(), arrive)

    # The broker's side.

    def _run_until(self, end_ms: int) -> None:
        world = self.world
        while True:
            timer_ms = world.next_timer_ms()
            event_ms = self._events[0][0] if self._events else None
            at_ms = min((ms for ms in (timer_ms, event_ms) if ms is not None), default=end_ms)
            if at_ms >= end_ms:
                world.clock_ms = end_ms
                return
            world.clock_ms = at_ms
            if at_ms == event_ms:
                heapq.heappop(self._events)[2]()
            else:
                world.fire_due()
            if not self._disk_is_scheduled and not world.is_settled:
                self._disk_is_scheduled = True
                self.after(self.random.randint(1, 8), self._disk)

    def _disk(self) -> None:
        """One thing becomes durable, or cannot."""
        self._disk_is_scheduled = False
        world = self.world
        fails = not self.is_calm and self.random.random() < 0.01
        if world.retries and self.random.random() < 0.1:
            world.retry()
        elif world.flushes and self.random.random() < 0.1:
            world.flush()
        elif world.stores and (not world.syncs or self.random.random() < 0.5):
            world.store_next(ok=not fails)
        elif world.syncs and self.random.random() > self._slowness:
            world.sync_next(ok=not fails)

    def _crash(self) -> None:
        self._connection_epoch += 1
        loses_power = self.random.random() < 0.5

        def kept(log: ModelLog) -> int:
            written = len(log.entries)
            return self.random.randint(log.synced, written) if loses_power else written

        self.world.crash(self.random.randint(0, len(self.world.stores)), kept)

    # Trouble.

    def _schedule_trouble(self) -> None:
        kinds = [self._crash, self._crash, self._jump_clock, self._delete_topic, self._new_producer]
        kinds += [self._new_producer, self._pause, self._pause, self._kill, self._fill_disk]
        for _ in range(self.random.randint(2, 9)):
            self.after(self.random.randrange(TROUBLE_MS), self.random.choice(kinds))

    def _jump_clock(self) -> None:
        self.world.wall_clock_skew_ms = self.random.randint(-HOUR_MS, HOUR_MS)

    def _delete_topic(self, times: int = 4) -> None:
        """And create it again, some times in a row."""
        partition = self.random.choice(PARTITIONS)
        self.oracle.lost_topics.add(partition)
        if self.world.logs.pop(partition, None) is None:
            return

        def create() -> None:
            self.world.logs[partition] = ModelLog()
            if times > 1 and not self.is_calm:
                self.after(self.random.randint(0, 200), lambda: self._delete_topic(times - 1))

        self.after(self.random.randint(20, 200), create)

    def _new_producer(self) -> None:
        """As after a kill that only looked like one: the older producer lives on."""
        old = self.random.choice(self.producers)
        is_v2 = old.is_v2 if self.random.random() < 0.7 else not old.is_v2
        self.start_producer(old.transactional_id, is_v2=is_v2)

    def _pause(self) -> None:
        producer = self.random.choice(self.producers)
        producer.paused_until_ms = self.world.clock_ms + self.random.randint(300, 2_500)

    def _kill(self) -> None:
        producer = self.random.choice(self.producers)
        producer.kill()
        if self.random.random() < 0.7:
            self.start_producer(producer.transactional_id, is_v2=producer.is_v2)

    def _fill_disk(self) -> None:
        """A log cannot be written for a while, as one that is offline or out of space."""
        log = self.random.choice(list(self.world.logs.values()))
        if log.failure is None:
            log.failure = KafkaError(ErrorCode.kafka_storage_error)
            self.after(self.random.randint(100, 1_500), lambda: setattr(log, "failure", None))

    def _network_ms(self) -> int:
        if not self.is_calm and self.random.random() < 0.02:
            return self.random.randint(200, 1_500)
        return self.random.randint(1, 10)


class Producer:
    """A client; `age` numbers them."""

    def __init__(self, sim: TransactionSimulation, transactional_id: str, age: int, is_v2: bool) -> None:
        self.sim = sim
        self.transactional_id = transactional_id
        self.age = age
        self.is_v2 = is_v2
        self.is_alive = True
        self.is_stopping = False
        self.paused_until_ms = 0
        self.step = "new"
        self.producer_id = self.producer_epoch = -1
        self.sequences: dict[TopicPartition, int] = {}
        self.needs_new_epoch = False
        self.timeout_ms = sim.random.choice(TRANSACTION_TIMEOUTS_MS)
        self._attempt = 0

    # The process.

    def kill(self) -> None:
        self.is_alive = False
        self._attempt += 1

    def resume(self, life: Life, answer: Any) -> None:
        """Go on with the answer, when it is not paused."""
        if not self.is_alive:
            return
        pause_ms = self.paused_until_ms - self.sim.world.clock_ms
        if pause_ms > 0:
            self.sim.after(pause_ms, lambda: self.resume(life, answer))
            return
        try:
            action = life.send(answer)
        except StopIteration:
            self.is_alive = False
            return
        if isinstance(action, Sleep):
            self.sim.after(action.ms, lambda: self.resume(life, None))
            return
        self._attempt += 1
        attempt = self._attempt

        def hear(result: Any) -> None:
            if attempt == self._attempt:
                self._attempt += 1
                self.resume(life, result)

        self.sim.send(action, hear, lambda: attempt != self._attempt)
        self.sim.after(REQUEST_TIMEOUT_MS, lambda: hear(None))

    # What it does.

    def life(self) -> Life:
        if not (yield from self._init()):
            return
        while not self.is_stopping:
            wants_new_epoch = self.needs_new_epoch or self.sim.random.random() < 0.05
            if wants_new_epoch and not (yield from self._init()):
                return
            if not (yield from self._transaction()):
                return
            if self.sim.random.random() < 0.7:
                yield Sleep(self.sim.random.randint(0, 300))

    def _init(self) -> Life:
        """Whether it may go on."""
        self.step = "init"
        while True:
            request = InitProducerId(
                self.transactional_id,
                self.timeout_ms,
                next(self.sim.producer_ids),
                self.producer_id,
                self.producer_epoch,
            )

            result = yield Ask(
                lambda answer, request=request: self.sim.world.ask_then(
                    request, self._hears(request, answer)
                ),
                may_be_late=False,
            )
            error = _error(result)
            if error is ErrorCode.none:
                self._take(result)
                return True
            if error not in RETRIABLE:
                return False
            yield Sleep(self.sim.random.randint(20, 60))

    def _hears(self, request: InitProducerId, answer: Callable[[Any], None]) -> Callable[[Any], None]:
        """`answer`, and the oracle hears of the epoch as it leaves the broker."""

        def initialized(result: Any) -> None:
            if isinstance(result, ProducerResult) and result.error_code is ErrorCode.none:
                self.sim.oracle.initialized(self, request, result)
            answer(result)

        return initialized

    def _take(self, result: ProducerResult) -> None:
        if (self.producer_id, self.producer_epoch) != (result.producer_id, result.producer_epoch):
            self.sequences.clear()
        self.producer_id, self.producer_epoch = result.producer_id, result.producer_epoch
        self.needs_new_epoch = False

    def _transaction(self) -> Life:
        """One transaction; whether it may go on."""
        random, oracle = self.sim.random, self.sim.oracle
        transaction = Transaction(next(self.sim.numbers))
        oracle.transactions[transaction.number] = transaction
        oracle.producer_of[transaction.number] = self
        partitions = random.sample(PARTITIONS, random.randint(1, 3))
        has_offsets = random.random() < 0.3
        is_good: bool | None = True
        if not self.is_v2:
            is_good = yield from self._add(partitions, has_offsets=has_offsets)
        for _ in range(random.randint(1, 2)):
            if is_good:
                is_good = yield from self._produce(transaction, random.sample(partitions, 1) + partitions)
        if is_good and has_offsets:
            is_good = yield from self._commit_offsets(transaction)
        if is_good is None:
            return False
        if random.random() < 0.1:
            yield Sleep(random.randint(500, 1_500))
        transaction.wants_commit = is_good and random.random() < 0.8
        return (yield from self._end(transaction))

    def _retry(self, send: Callable[[Callable[[Any], None]], None], *, may_be_late: bool) -> Life:
        """The first error that does not ask to try again; None when it was tried for too long."""
        for _ in range(30):
            error = _error((yield Ask(send, may_be_late=may_be_late)))
            if error not in RETRIABLE:
                return error
            yield Sleep(self.sim.random.randint(5, 40))
        return None

    def _add(self, partitions: list[TopicPartition], *, has_offsets: bool) -> Life:
        """True when it goes on, False when the transaction is to be aborted, None when the producer ends."""
        self.step = "add"
        who = (self.transactional_id, self.producer_id, self.producer_epoch)
        requests: list[Any] = [AddPartitions(*who, frozenset(partitions))]
        if has_offsets:
            requests.append(AddOffsets(*who, "g"))
        for request in requests:
            error = yield from self._retry(
                lambda answer, request=request: self.sim.world.ask_then(request, answer), may_be_late=False
            )
            if error is not ErrorCode.none:
                return None if error in FATAL else False
        return True

    def _produce(self, transaction: Transaction, partitions: list[TopicPartition]) -> Life:
        """As `_add`. A batch for each partition, each retried until it is in."""
        self.step = "produce"
        missing = dict.fromkeys(partitions)
        batches = {}
        for partition in missing:
            sequence = self.sequences.get(partition, 0)
            self.sequences[partition] = sequence + 1
            batches[partition] = batch(self.producer_id, self.producer_epoch, sequence, transaction.number)
        version = 12 if self.is_v2 else 9
        for _ in range(30):
            asked = {partition: bytearray(batches[partition]) for partition in missing}
            errors = yield Ask(
                lambda answer, asked=asked: self.sim.world.produce(
                    version, self.transactional_id, asked, answer
                ),
                may_be_late=True,
            )
            for partition, error in (errors or {}).items():
                if error is ErrorCode.none:
                    transaction.acked.add(partition)
                    missing.pop(partition, None)
                elif error in FATAL:
                    return None
                elif error not in RETRIABLE:
                    self.needs_new_epoch = not self.is_v2
                    return False
            if not missing:
                return True
            yield Sleep(self.sim.random.randint(5, 40))
        self.needs_new_epoch = not self.is_v2
        return False

    def _commit_offsets(self, transaction: Transaction) -> Life:
        """As `_add`."""
        self.step = "offsets"
        who = (self.transactional_id, self.producer_id, self.producer_epoch)
        request = VerifyOffsets(*who, "g", add=self.is_v2)
        error = yield from self._retry(
            lambda answer: self.sim.world.commit_offsets(request, transaction.number, answer),
            may_be_late=False,
        )
        if error is ErrorCode.none:
            transaction.acked.add(GROUP)
            return True
        return None if error in FATAL else False

    def _end(self, transaction: Transaction) -> Life:
        """Whether the producer may go on."""
        self.step = "end"
        while True:
            request = EndTxn(
                self.transactional_id,
                self.producer_id,
                self.producer_epoch,
                transaction.wants_commit,
                self.is_v2,
                next(self.sim.producer_ids),
            )
            result = yield Ask(
                lambda answer, request=request: self.sim.world.ask_then(request, answer),
                may_be_late=self.is_v2,
            )
            error = _error(result)
            if error is ErrorCode.none:
                transaction.answered = "commit" if transaction.wants_commit else "abort"
                if self.is_v2:
                    self.sim.oracle.give(self, result.producer_id, result.producer_epoch)
                    self._take(result)
                return True
            if error not in RETRIABLE:
                return False
            yield Sleep(self.sim.random.randint(5, 40))


def _error(result: Any) -> ErrorCode:
    """No answer is an error that one tries again after."""
    if result is None:
        return ErrorCode.coordinator_not_available
    if isinstance(result, ErrorCode):
        return result
    return result.code if isinstance(result, KafkaError) else result.error_code  # type: ignore[no-any-return]


def _once(answer: Callable[[Any], None]) -> Callable[[Any], None]:
    answered = []

    def check(result: Any) -> None:
        if answered:
            raise Violation(f"answered twice: {answered[0]}, {result}")
        answered.append(result)
        answer(result)

    return check
