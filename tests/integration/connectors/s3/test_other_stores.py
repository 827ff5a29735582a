"""Folders and Google Cloud Storage (over HTTP) in place of S3: round trips, kills, what is refused."""

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.google_store import google_store
from support.s3_sink import SinkDriver, json_record, offsets_in
from support.s3_source import SourceDriver, values
from support.stores import Killed, Place, assassin, objects_of

from connect.api import SinkRecord, TopicPartition
from connectors.s3 import sink, store
from connectors.s3.access import Access
from connectors.s3.locations import Location, locate
from connectors.s3.plugin import S3SinkConnector
from connectors.s3.source.plugin import AivenS3SourceConnector, S3SourceConnector
from connectors.s3.store import (
    Bucket,
    Entry,
    ObjectChangedError,
    ObjectExistsError,
    ObjectGoneError,
    Pages,
    UploadLostError,
    open_bucket,
)
from connectors.s3.stores.cloud import CloudBucket
from connectors.s3.stores.local import LocalBucket

DOCS = Path(__file__).parents[4] / "docs" / "stores.md"
GIVEN = "MILLSTREAM_TEST_STORE"
MIB = 1 << 20
PARTITION = TopicPartition("t", 0)
STRANGE = "a/c é {x}=1%+.json"


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    (tmp_path / "bucket").mkdir()
    return Place(f"file://{tmp_path}", "bucket")


@pytest.fixture
def google(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with google_store(s3) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        bucket = s3.create_bucket()
        yield Place(f"gs://{bucket}/some/prefix", bucket)


@pytest.fixture
def given() -> Place:
    """A part of its own of the bucket that a variable names: docs/stores.md, "A store of your own"."""
    url = os.environ[GIVEN].rstrip("/")
    return Place(f"{url}/{uuid.uuid4().hex}", urlsplit(url).netloc)


@pytest.fixture(params=["folder", "google", *(["given"] if GIVEN in os.environ else [])])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


def bucket_of(place: Place, doing: str = "write") -> Bucket:
    location = locate(place.url, place.bucket)
    return open_bucket(Access(place.bucket, location=location, backoff_ms=1), doing)


def test_objects_are_written_listed_and_read(place: Place) -> None:
    bucket = bucket_of(place)
    for key in ("b", "a/b+1.json", "a-b", "a/b/c"):
        bucket.put(key, key.encode(), {}, if_absent=False)
    bucket.put(STRANGE, b"0123456789", {"next-offset": "7"}, if_absent=True)
    listed = bucket.page("")
    assert [entry.key for entry in listed] == ["a-b", "a/b+1.json", "a/b/c", STRANGE, "b"]
    assert [entry.key for entry in bucket.page("a/b")] == ["a/b+1.json", "a/b/c"]
    for number, entry in enumerate(listed, 1):
        assert [each.key for each in bucket.page("", entry.key)] == [each.key for each in listed[number:]]
    assert bucket.page("nobody/") == []
    assert bucket.metadata(STRANGE) == {"next-offset": "7"}
    assert bucket.metadata("a/nobody") is None
    assert bucket.read(listed[3], 2, 3) == b"234"
    assert b"".join(bucket.chunks(listed[3], 4)) == b"456789"


def test_what_is_there_is_not_overwritten_unawares(place: Place) -> None:
    bucket = bucket_of(place)
    bucket.put("k", b"first", {}, if_absent=True)
    with pytest.raises(ObjectExistsError, match="k: it exists already"):
        bucket.put("k", b"other", {}, if_absent=True)
    (entry,) = bucket.page("")
    assert bucket.read(entry, 0, 9) == b"first"
    bucket.put("k", b"second", {}, if_absent=False)
    with pytest.raises(ObjectChangedError, match="k has changed"):
        bucket.read(entry, 0, 2)
    with pytest.raises((ObjectGoneError, ObjectChangedError)):
        list(bucket.chunks(entry._replace(key="gone")))


@pytest.mark.parametrize("if_absent", [False, True])
def test_large_objects_are_there_as_a_whole(place: Place, if_absent: bool) -> None:
    bucket = bucket_of(place)
    parts = [bytes([n]) * (5 * MIB) for n in range(3)]

    def upload() -> None:
        upload_id = bucket.start_upload("large", if_absent=if_absent)
        etags = [bucket.put_part("large", upload_id, n, part) for n, part in enumerate(parts, 1)]
        bucket.complete_upload("large", upload_id, etags, if_absent=if_absent)

    upload()
    if if_absent:
        with pytest.raises(ObjectExistsError):
            upload()
    given_up = bucket.start_upload("given up", if_absent=if_absent)
    bucket.put_part("given up", given_up, 1, parts[0])
    bucket.abort_upload("given up", given_up)
    with pytest.raises(UploadLostError):
        bucket.put_part("given up", given_up, 2, parts[1])
    (entry,) = bucket.page("")
    assert entry.key == "large"
    assert b"".join(bucket.chunks(entry)) == b"".join(parts)


def test_a_task_that_lives_on_cannot_spoil_what_the_next_one_writes(folder: Place) -> None:
    first, second = bucket_of(folder), bucket_of(folder)
    old = first.start_upload("k", if_absent=False)
    first.put_part("k", old, 1, b"begin, ")
    new = second.start_upload("k", if_absent=False)
    with pytest.raises(UploadLostError, match="another task"):
        first.put_part("k", old, 2, b"end")
    for number, data in enumerate((b"begin, ", b"end"), 1):
        second.put_part("k", new, number, data)
    second.complete_upload("k", new, ["1", "2"], if_absent=False)
    (entry,) = second.page("")
    assert second.read(entry, 0, 99) == b"begin, end"


def test_a_listing_that_failed_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PAGE", 2)
    fails = [0, 5]

    def walk(prefix: str, after: str) -> Iterator[Entry]:
        for n in range(8):
            if prefix == "k" and n in fails:
                fails.remove(n)
                raise ConnectionError
            if f"{prefix}{n}" > after:
                yield Entry(f"{prefix}{n}", "", 1, 0)

    pages, found, after = Pages(walk), list[str](), ""
    while True:
        try:
            page = pages.page("k", after)
        except ConnectionError:
            continue
        if not page:
            break
        assert len(pages.page("x", "x6")) == 1
        found += [entry.key for entry in page]
        after = page[-1].key
    assert found == [f"k{n}" for n in range(8)]


def test_what_killed_tasks_left_is_deleted_some_day(folder: Place, tmp_path: Path) -> None:
    uploads = tmp_path / "bucket" / ".uploads"
    uploads.mkdir()
    for name, age_s in (("old-1", 8 * 86400), ("new-1", 60)):
        (uploads / name).write_bytes(b"x")
        os.utime(uploads / name, (time.time() - age_s,) * 2)
    bucket_of(folder).put("k", b"x", {}, if_absent=False)
    assert [path.name for path in uploads.iterdir()] == ["new-1"]


def test_the_example_of_the_docs() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", DOCS.read_text(), re.DOTALL)
    config = S3SinkConnector.config_class.parse(json.loads(example))
    assert config.access.location == Location("file", "/srv/objects/shop-events")


@pytest.mark.parametrize("format", ["json", "parquet"])
def test_what_the_sink_wrote_comes_back(place: Place, format: str) -> None:
    written = [json_record(n) for n in range(10)]
    settings = {**place.settings, "format.class": format}
    SinkDriver(settings, {PARTITION: written}).run()
    source = SourceDriver(place.as_s3, place.bucket, settings)
    assert [value["o"] for value in values(source.run())] == list(range(9))
    source.restart()
    assert source.run() == []


SCENARIOS: dict[str, tuple[dict[str, str], list[SinkRecord]]] = {
    "by count": ({"flush.size": "3"}, [json_record(n) for n in range(7)]),
    "multipart": (
        {"flush.size": "3", "s3.part.size": str(5 * MIB), "s3.upload.threads": "1"},
        [json_record(n, {"x": "y" * (3 * MIB)}) for n in range(3)],
    ),
    "on schedule": (
        {"flush.size": "100", "rotate.schedule.interval.ms": "60000", "timezone": "UTC",
         "partitioner.class": "FieldPartitioner", "partition.field.name": "f", "s3.upload.threads": "1"},
        [json_record(n, {"f": n % 2}) for n in range(8)],
    ),
}  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Half a minute passes with each look at it."""
    now_ms = 1_709_164_800_000

    def look() -> int:
        nonlocal now_ms
        now_ms += 30_000
        return now_ms

    monkeypatch.setattr(sink, "_now_ms", look)
    return look


@pytest.mark.parametrize(
    ("name", "scenario"),
    [
        ("folder", "by count"),
        ("folder", "multipart"),
        ("folder", "on schedule"),
        ("google", "on schedule"),
        *([("given", scenario) for scenario in SCENARIOS] if GIVEN in os.environ else []),
    ],
)
def test_killed_at_any_step(
    request: pytest.FixtureRequest,
    clock: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    scenario: str,
) -> None:
    place = request.getfixturevalue(name)
    settings, records = SCENARIOS[scenario]
    hired = assassin(LocalBucket if place.url.startswith("file") else CloudBucket)
    monkeypatch.setattr(sink, "open_bucket", lambda access: hired(access, access.location, "write"))

    def start() -> SinkDriver:
        return SinkDriver(
            {**place.settings, **settings, "topics.dir": uuid.uuid4().hex}, {PARTITION: records}
        )

    def finish(run: SinkDriver) -> None:
        run.run()
        while run.config.rotates_on_schedule and not run.is_caught_up:
            run.put([])
            run.run()

    def found(run: SinkDriver) -> dict[str, bytes]:
        start = f"{run.config.topics_dir}/"
        return {
            key.removeprefix(start): data
            for key, data in objects_of(run.config).items()
            if key.startswith(start)
        }

    undisturbed = start()
    finish(undisturbed)
    expected, steps = found(undisturbed), hired.steps
    for step in range(steps):
        hired.steps_left = step
        run = start()
        with pytest.raises(Killed):
            finish(run)
        hired.steps_left = None
        run.restart()
        finish(run)
        if scenario == "on schedule":
            assert sorted(offsets_in(found(run))) == [("t+0", n) for n in range(8)], f"killed at step {step}"
        else:
            assert found(run) == expected, f"killed at step {step}"


WRITE = """
import sys
from connectors.s3.access import Access
from connectors.s3.locations import locate
from connectors.s3.store import open_bucket
bucket = open_bucket(Access("bucket", location=locate(sys.argv[1], "bucket")))
part = bytes(range(256)) * (1 << 13)
print("begin", flush=True)
for n in range(10_000):
    key = f"topics/{n % 7}"
    bucket.put(f"{key}/small", part, {}, if_absent=False)
    upload_id = bucket.start_upload(f"{key}/large", if_absent=False)
    etags = [bucket.put_part(f"{key}/large", upload_id, number, part) for number in (1, 2, 3)]
    bucket.complete_upload(f"{key}/large", upload_id, etags, if_absent=False)
"""


def test_a_killed_process_leaves_no_half_file(folder: Place) -> None:
    part = bytes(range(256)) * (1 << 13)
    for pause_s in (0.0, 0.013, 0.031, 0.057):
        with subprocess.Popen([sys.executable, "-c", WRITE, folder.url], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(pause_s)  # whenever it is: no moment may be a wrong one
            writer.kill()
        bucket = bucket_of(folder, "read")
        for entry in bucket.page(""):
            whole = part if entry.key.endswith("small") else 3 * part
            assert b"".join(bucket.chunks(entry)) == whole, entry.key


def errors(settings: dict[str, str], connector: Any = S3SinkConnector) -> dict[str, str]:
    given = {"format.class": "json", "flush.size": "3", "s3.retry.backoff.ms": "1", **settings}
    config, found = connector.config_class.examine(given)
    if not found:
        found = list(connector().check_connection(config))
    return {error.name: error.message for error in found}


@pytest.mark.parametrize("connector", [S3SinkConnector, S3SourceConnector])
def test_a_good_bucket(place: Place, connector: Any) -> None:
    assert errors(dict(place.settings), connector) == {}


@pytest.mark.parametrize("connector", [S3SinkConnector, S3SourceConnector])
@pytest.mark.parametrize("scheme", ["file", "gs"])
def test_a_missing_bucket(folder: Place, google: Place, scheme: str, connector: Any) -> None:
    url = folder.url if scheme == "file" else "gs://"
    found = errors({"store.url": url, "s3.bucket.name": "nobody"}, connector)
    assert list(found) == ["s3.bucket.name"]
    assert "nobody" in found["s3.bucket.name"]
    assert "does not exist" in found["s3.bucket.name"]


@pytest.mark.parametrize(
    ("settings", "name", "why"),
    [
        ({"store.url": "gs://other"}, "store.url", "names the bucket other, but 'b' is set"),
        ({"store.url": "ftp://host/b"}, "store.url", "must begin with http:// or https://, or with gs://"),
        ({"store.url": "file://host/b"}, "store.url", "by its absolute path"),
        ({"store.url": "https://a.blob.core.windows.net/b?sig=1"}, "store.url", "cannot have a query"),
        ({"store.url": "file:///x", "format.class": "iceberg", "iceberg.catalog.uri": "sqlite:///x"},
         "format.class", "on S3 only"),
        ({"store.url": "file:///x", "s3.object.tagging": "true"}, "s3.object.tagging", "on S3 only"),
        ({"store.url": "az://b", "s3.acl.canned": "private"}, "s3.acl.canned", "on S3 only"),
        ({"store.url": "gs://b", "s3.ssea.name": "AES256"}, "s3.ssea.name", "on S3 only"),
    ],
)  # fmt: skip
def test_what_cannot_be(settings: dict[str, str], name: str, why: str) -> None:
    found = errors({"s3.bucket.name": "b", **settings})
    assert list(found) == [name]
    assert why in found[name]


@pytest.mark.parametrize(
    ("url", "bucket", "prefix", "account"),
    [
        ("az://c", "c", "", None),
        ("az://", "c", "", None),
        ("abfss://c@acc.dfs.core.windows.net/some/prefix", "c", "some/prefix/", "acc"),
        ("https://acc.blob.core.windows.net", "c", "", "acc"),
        ("https://acc.blob.core.windows.net/c/p/", "c", "p/", "acc"),
    ],
)
def test_azure_has_several_urls(url: str, bucket: str, prefix: str, account: str | None) -> None:
    location = locate(url, "c")
    assert location is not None
    assert (location.scheme, location.bucket, location.prefix) == ("az", bucket, prefix)
    assert location.credentials.azure_account == account


def test_a_dead_endpoint_and_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    dead = f"AccountName=a;AccountKey={key};BlobEndpoint=http://127.0.0.1:1/a"
    where = {"store.url": "az://", "s3.bucket.name": "b", "s3.part.retries": "0"}
    (why,) = errors({**where, "azure.storage.connection.string": dead}).values()
    assert why.startswith("cannot write az://b/: ")
    assert key not in why
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    nowhere = {"store.url": "gs://b", "s3.bucket.name": "b", "gcs.credentials.path": "/nowhere/key.json"}
    (why,) = errors(nowhere).values()
    assert "no credentials" in why
    assert "/nowhere/key.json" in why


@pytest.mark.parametrize("connector", [S3SourceConnector, AivenS3SourceConnector])
def test_no_queue_tells_of_files(folder: Place, connector: Any) -> None:
    aiven = {
        "aws.s3.endpoint": folder.url,
        "aws.s3.bucket.name": folder.bucket,
        "file.name.template": "{{topic}}",
    }
    queue = "https://sqs.us-west-2.amazonaws.com/1/q"
    found = errors({**folder.settings, **aiven, "sqs.queue.url": queue}, connector)
    assert list(found) == ["sqs.queue.url"]
