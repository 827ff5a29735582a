"""An S3 endpoint over HTTP: moto's server in a process of its own."""

import json
import shutil
import sys
import tempfile
import uuid
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from connect.testing.child import Child, Stoppable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SERVE = """
import json, sys, threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
host, port = server.get_host_and_port()
with open(sys.argv[1] + ".new", "w") as out:
    json.dump({"port": port}, out)
import os
os.replace(sys.argv[1] + ".new", sys.argv[1])
threading.Event().wait()
"""


class S3Endpoint(Stoppable):
    """An S3 over HTTP in a process of its own, with the credentials that it takes."""

    access_key = "millstream"
    secret_key = "millstream-secret"
    region = "us-west-2"

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="millstream-s3-"))
        self._child, self.endpoint = self._start()

    @abstractmethod
    def _start(self) -> tuple[Child, str]:
        """The server's process and URL, once it answers."""

    def client(self) -> "S3Client":
        """A boto3 client of this server."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )

    def create_bucket(self, name: str | None = None) -> str:
        """Create a bucket (a fresh name when none is given); its name."""
        name = name or f"bucket-{uuid.uuid4().hex[:12]}"
        where = {"LocationConstraint": self.region}
        self.client().create_bucket(Bucket=name, CreateBucketConfiguration=where)  # type: ignore[arg-type]
        return name

    def stop(self) -> None:
        self._child.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class S3Server(S3Endpoint):
    """`S3Server()` starts an empty S3; any credentials are taken, `access_key` and `secret_key` will do."""

    def _start(self) -> tuple[Child, str]:
        told = self.directory / "port.json"
        child = Child([sys.executable, "-c", _SERVE, str(told)], self.directory / "moto.log")
        child.wait_until(told.exists, 60, "moto")
        return child, f"http://127.0.0.1:{json.loads(told.read_text())['port']}"
