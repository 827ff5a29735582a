"""What goes wrong with a bucket: told in one sentence, and retried where that helps."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    ReadTimeoutError,
)
from support.s3_signatures import signatures_checked
from support.s3_sink import SETTINGS, SinkDriver, json_record, objects

from connect.api import ConnectError, FieldError, RetriableError, TopicPartition
from connect.testing.s3 import S3Server
from connectors.s3.aiven.plugin import AivenS3SinkConnector
from connectors.s3.config import S3SinkConfig
from connectors.s3.plugin import S3SinkConnector
from connectors.s3.stores.s3 import explain

TP = TopicPartition("t", 0)
KEY = "topics/t/partition=0/t+0+0000000000.json"


def driver(endpoint: str, bucket: str, **settings: str) -> SinkDriver:
    where = {"store.url": endpoint, "s3.bucket.name": bucket}
    given = {name.replace("_", "."): value for name, value in settings.items()}
    return SinkDriver({**where, **given}, {TP: [json_record(n) for n in range(4)]})


def look(endpoint: str, bucket: str, **settings: str) -> list[FieldError]:
    where = {"store.url": endpoint, "s3.bucket.name": bucket}
    config = S3SinkConfig.parse({**SETTINGS, **where, **settings})
    return list(S3SinkConnector().check_connection(config))


def test_a_good_bucket(s3: Any) -> None:
    assert look(s3.endpoint, s3.create_bucket()) == []


def test_a_missing_bucket(s3: Any) -> None:
    why = "the bucket does not exist"
    assert look(s3.endpoint, "nowhere") == [FieldError("s3.bucket.name", f"cannot write s3://nowhere: {why}")]
    run = driver(s3.endpoint, "nowhere")
    with pytest.raises(ConnectError) as failed:
        run.deliver(4)
    assert str(failed.value) == f"cannot write s3://nowhere/{KEY}: {why}"
    assert not isinstance(failed.value, RetriableError)
    run.commit()
    assert run.committed == {TP: 0}


def test_an_impossible_bucket_name(s3: Any) -> None:
    [error] = look(s3.endpoint, "No Bucket!")
    assert error == FieldError(
        "s3.bucket.name", "cannot write s3://No Bucket!: S3 does not allow such a bucket name"
    )


def test_a_dead_endpoint() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    endpoint = f"http://127.0.0.1:{server.server_port}"
    server.server_close()
    [error] = look(endpoint, "b")
    assert error == FieldError("store.url", f"cannot write s3://b: nothing answers at {endpoint}")
    run = driver(endpoint, "b", retry_backoff_ms="77")
    with pytest.raises(RetriableError, match=f"cannot write s3://b/.*: nothing answers at {endpoint}"):
        run.deliver(4)
    assert run.context.timeout_ms == 77


def test_missing_credentials(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    keyless = {"aws.access.key.id": "", "aws.secret.access.key": ""}
    [error] = look(s3.endpoint, s3.create_bucket(), **keyless)
    assert error.name == "aws.access.key.id"
    assert "no credentials; set aws.access.key.id" in error.message


@pytest.fixture
def user(s3: S3Server) -> Iterator[tuple[str, str]]:
    """The key of a user who may do everything; while it lasts, S3 checks keys and signatures."""
    with signatures_checked(s3):
        yield s3.access_key, s3.secret_key


@pytest.fixture
def bucket(s3: Any) -> str:
    name: str = s3.create_bucket()
    return name


def test_wrong_credentials(s3: Any, bucket: str, user: tuple[str, str]) -> None:
    key_id, secret = user
    good = {"aws.access.key.id": key_id, "aws.secret.access.key": secret}
    assert look(s3.endpoint, bucket, **good) == []
    [error] = look(s3.endpoint, bucket, **{**good, "aws.access.key.id": "AKIANOBODY"})
    assert error == FieldError(
        "aws.access.key.id", f"cannot write s3://{bucket}: the access key is not known"
    )
    [error] = look(s3.endpoint, bucket, **{**good, "aws.secret.access.key": "wrong"})
    why = f"cannot write s3://{bucket}: the secret key does not fit the access key"
    assert error == FieldError("aws.secret.access.key", why)
    run = driver(s3.endpoint, bucket, **good)
    run.run()
    assert run.committed == {TP: 3}


def test_wrong_credentials_under_aivens_names(s3: Any, bucket: str, user: tuple[str, str]) -> None:
    key_id, secret = user
    good = {
        "aws.s3.endpoint": s3.endpoint, "aws.s3.bucket.name": bucket, "aws.access.key.id": key_id,
        "aws.secret.access.key": secret,
    }  # fmt: skip
    wrong = [
        ("aws.secret.access.key", "wrong", "the secret key does not fit the access key"),
        ("aws.access.key.id", "AKIANOBODY", "the access key is not known"),
        ("aws.s3.bucket.name", "nowhere", "the bucket does not exist"),
    ]
    aiven = AivenS3SinkConnector()
    assert list(aiven.check_connection(aiven.config_class.parse(good))) == []
    for name, value, why in wrong:
        [error] = aiven.check_connection(aiven.config_class.parse({**good, name: value}))
        assert (error.name, error.message.rpartition(": ")[2]) == (name, why)
    run = SinkDriver({**good, "aws.secret.access.key": "wrong"}, {TP: [json_record(0)]}, AivenS3SinkConnector)
    run.deliver(1)
    run.commit()
    with pytest.raises(RetriableError, match="the secret key does not fit the access key"):
        run.put([])
    assert run.committed == {TP: 0}


class Troubled(BaseHTTPRequestHandler):
    """Answers with `troubles` first, each a status and an error code, then takes everything."""

    protocol_version = "HTTP/1.1"  # without it the client waits a second for `100 Continue`
    troubles: ClassVar[list[tuple[int, str]]]
    requests: ClassVar[list[str]]
    users: ClassVar[list[str]]

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.requests.append(self.path)
        self.users.append(self.headers.get("Authorization", ""))
        status, code = self.troubles.pop(0) if self.troubles else (200, "")
        body = (
            f"<Error><Code>{code}</Code><Message>told by {code}</Message></Error>".encode() if code else b""
        )
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"e"')
        if status == 301:
            self.send_header("x-amz-bucket-region", "eu-north-1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def troubled() -> Iterator[tuple[str, type[Troubled]]]:
    class Handler(Troubled):
        troubles: ClassVar[list[tuple[int, str]]] = []
        requests: ClassVar[list[str]] = []
        users: ClassVar[list[str]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Handler
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    "trouble", [(503, "SlowDown"), (500, "InternalError"), (429, "TooMany"), (400, "ExpiredToken")]
)
def test_a_busy_server_is_tried_again(troubled: tuple[str, type[Troubled]], trouble: tuple[int, str]) -> None:
    endpoint, handler = troubled
    handler.troubles[:] = [trouble] * 3
    run = driver(endpoint, "b", s3_part_retries="3")
    run.deliver(4)
    run.commit()
    assert run.committed == {TP: 3}
    assert len(handler.requests) == 4


def test_after_enough_tries_the_runtime_is_told_to_come_back(troubled: tuple[str, type[Troubled]]) -> None:
    endpoint, handler = troubled
    handler.troubles[:] = [(503, "SlowDown")] * 3
    run = driver(endpoint, "b", s3_part_retries="1")
    with pytest.raises(RetriableError, match=f"s3://b/{KEY.replace('+', '.')}: S3 asks for fewer requests"):
        run.deliver(4)
    run.commit()
    assert run.committed == {TP: 0}
    run.run()
    assert run.committed == {TP: 3}


@pytest.mark.parametrize(
    ("status", "code", "why"),
    [
        (403, "AccessDenied", "access denied"),
        (301, "PermanentRedirect", "the bucket is in eu-north-1, another region than the one that is set"),
        (403, "NoSuchBucket", "the bucket does not exist"),
        (400, "Strange", "told by Strange"),
    ],
)
def test_what_no_retry_mends_fails_at_once(
    troubled: tuple[str, type[Troubled]], status: int, code: str, why: str
) -> None:
    endpoint, handler = troubled
    handler.troubles[:] = [(status, code)] * 9
    run = driver(endpoint, "b")
    with pytest.raises(ConnectError) as failed:
        run.deliver(4)
    assert str(failed.value) == f"cannot write s3://b/{KEY}: {why}"
    assert not isinstance(failed.value, RetriableError)
    # Botocore itself tries the region that it is told of, once.
    assert len(handler.requests) == (2 if status == 301 else 1)


def test_credentials_that_expired_are_looked_for_again(
    troubled: tuple[str, type[Troubled]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator, or a program, writes new ones into the profile."""
    endpoint, handler = troubled
    profile = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profile))
    profile.write_text("[default]\naws_access_key_id=old\naws_secret_access_key=s\naws_session_token=t\n")
    handler.troubles[:] = [(400, "ExpiredToken")]
    keyless = {"aws.access.key.id": "", "aws.secret.access.key": "", "s3.part.retries": "0"}
    run = driver(endpoint, "b", **keyless)
    with pytest.raises(RetriableError, match="the credentials have expired"):
        run.deliver(4)
    profile.write_text("[default]\naws_access_key_id=new\naws_secret_access_key=s\n")
    run.run()
    assert run.committed == {TP: 3}
    assert [user.partition("Credential=")[2].partition("/")[0] for user in handler.users] == ["old", "new"]


def test_who_lacks_which_permission_is_told() -> None:
    said = "User: arn:aws:iam::1:user/u is not authorized to perform: s3:PutObject on resource: b/k"
    answer = {"Error": {"Code": "AccessDenied", "Message": said}}
    error = explain(ClientError(answer, "PutObject"), "s3://b/k")  # type: ignore[arg-type]
    assert str(error) == f"cannot write s3://b/k: access denied: {said}"


def test_time_outs_have_sentences_of_their_own() -> None:
    url = "https://s3.example:9000/b/k?uploadId=1"
    expected = {
        ConnectTimeoutError(endpoint_url=url): "no connection to https://s3.example:9000 within 5 s",
        ReadTimeoutError(endpoint_url=url): "https://s3.example:9000 did not answer in time",
        ConnectionClosedError(endpoint_url=url): (
            "https://s3.example:9000 closed the connection without an answer"
        ),
    }
    for exc, why in expected.items():
        error = explain(exc, "s3://b/k")
        assert isinstance(error, RetriableError)
        assert str(error) == f"cannot write s3://b/k: {why}"


def test_an_object_that_somebody_else_wrote_is_not_overwritten_with_scheduled_rotation(s3: Any) -> None:
    name = s3.create_bucket()
    s3.client().put_object(Bucket=name, Key=KEY, Body=b"not ours")
    settings = {"rotate.schedule.interval.ms": "86400000", "timezone": "UTC"}
    run = driver(s3.endpoint, name, **settings)
    run.run()
    assert objects(s3, name) == {
        KEY: b"not ours",
        # Only the first record is taken to be in it.
        KEY.replace("00.json", "01.json"): b'{"o":1}\n{"o":2}\n{"o":3}\n',
    }


def test_nor_by_a_multipart_upload(s3: Any) -> None:
    name = s3.create_bucket()
    s3.client().put_object(Bucket=name, Key=KEY, Body=b"not ours")
    settings = {"rotate.schedule.interval.ms": "86400000", "timezone": "UTC", "s3.part.size": str(5 << 20)}
    run = driver(s3.endpoint, name, **settings)
    run.log[TP] = [json_record(n, {"x": "y" * (3 << 20)}) for n in range(4)]
    run.run()
    assert objects(s3, name)[KEY] == b"not ours"
    assert run.committed == {TP: 4}
    assert s3.client().list_multipart_uploads(Bucket=name).get("Uploads", []) == []
