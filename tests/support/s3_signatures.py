"""S3 servers that check keys and signatures: moto when it is told to, and versitygw."""

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import boto3
import httpx

from connect.testing.child import Child, free_ports
from connect.testing.s3 import S3Endpoint, S3Server

_USER: Final = "writer"
_ALL: Final = {"Effect": "Allow", "Action": "*", "Resource": "*"}
_UNCHECKED: Final = 1 << 30


@contextmanager
def signatures_checked(s3: S3Server) -> Iterator[None]:
    """Only the keys of one user are taken meanwhile; they are the server's `access_key` and `secret_key`."""
    iam = boto3.client(
        "iam", endpoint_url=s3.endpoint, region_name="us-east-1",
        aws_access_key_id=s3.access_key, aws_secret_access_key=s3.secret_key,
    )  # fmt: skip
    iam.create_user(UserName=_USER)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [_ALL]})
    iam.put_user_policy(UserName=_USER, PolicyName="all", PolicyDocument=policy)
    key = iam.create_access_key(UserName=_USER)["AccessKey"]
    before = s3.access_key, s3.secret_key
    s3.access_key, s3.secret_key = key["AccessKeyId"], key["SecretAccessKey"]
    _check_all_but(s3, 0)
    try:
        yield
    finally:
        _check_all_but(s3, _UNCHECKED)
        s3.access_key, s3.secret_key = before
        iam.delete_access_key(UserName=_USER, AccessKeyId=key["AccessKeyId"])
        iam.delete_user_policy(UserName=_USER, PolicyName="all")
        iam.delete_user(UserName=_USER)


def _check_all_but(s3: S3Server, requests: int) -> None:
    """moto lets so many requests through before it looks at signatures."""
    request = urllib.request.Request(f"{s3.endpoint}/moto-api/reset-auth", str(requests).encode())
    request.add_header("Content-Type", "text/plain")
    urllib.request.urlopen(request).close()


class VersityGateway(S3Endpoint):
    """versitygw on a folder: signatures, the clock of requests and conditions are checked."""

    def _start(self) -> tuple[Child, str]:
        program = versitygw()
        if program is None:
            raise FileNotFoundError("versitygw is not installed: see tests/soak/README.md")
        folder = self.directory / "buckets"
        folder.mkdir()
        [port] = free_ports(1)
        endpoint = f"http://127.0.0.1:{port}"
        child = Child(
            [str(program), "--port", f"127.0.0.1:{port}", "--access", self.access_key,
             "--secret", self.secret_key, "--region", self.region, "--quiet", "posix", str(folder)],
            self.directory / "versitygw.log",
        )  # fmt: skip
        child.wait_until(lambda: _answers(endpoint), 60, "versitygw")
        return child, endpoint


def versitygw() -> Path | None:
    """The program, where `go install` puts it or on the PATH."""
    go = Path(os.environ.get("GOPATH", Path.home() / "go")) / "bin"
    found = shutil.which("versitygw", path=os.pathsep.join([os.environ["PATH"], str(go)]))
    return Path(found) if found else None


def _answers(endpoint: str) -> bool:
    try:
        httpx.get(endpoint, timeout=5)
    except httpx.TransportError:
        return False
    return True
