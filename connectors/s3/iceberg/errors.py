"""Failures of catalog and warehouse, in one sentence each, and whether a retry helps."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from connect.api import ConnectError, RetriableError
from connectors.s3.store import RefusedError

# What Arrow's S3 says, by what its messages contain.
_REFUSALS: Final[Mapping[str, str]] = {
    "NO_SUCH_BUCKET": "the bucket does not exist",
    "NoSuchBucket": "the bucket does not exist",
    "ACCESS_DENIED": "access denied",
    "AccessDenied": "access denied",
    "INVALID_ACCESS_KEY_ID": "the access key is not known",
    "SIGNATURE_DOES_NOT_MATCH": "the secret key does not fit the access key",
    "ExpiredToken": "the credentials have expired",
    "INVALID_CLIENT_TOKEN_ID": "the access key is not known",
    "PermanentRedirect": "the bucket is in another region than the one that is set",
    "HTTP status 301": "the bucket is in another region than the one that is set",
}


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turns what pyiceberg and what is below it raise into `RetriableError` or `RefusedError`. Conflicts of
    commits (`CommitFailedException`) pass."""
    from pyiceberg import exceptions
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (ConnectError, exceptions.CommitFailedException):
        raise
    except (
        exceptions.ServerError, exceptions.ServiceUnavailableError, exceptions.TooManyRequestsError,
        exceptions.CommitStateUnknownException, exceptions.AuthorizationExpiredError,
        exceptions.WaitingForLockException, RequestException,
    ) as exc:  # fmt: skip
        raise RetriableError(f"cannot {doing}: {_text(exc)}") from exc
    except SQLAlchemyError as exc:
        raise RetriableError(f"cannot {doing}: the catalog's database says: {_text(exc)}") from exc
    except OSError as exc:
        raise _of_files(exc, doing) from exc
    except (
        exceptions.RESTError, exceptions.NoSuchTableError, exceptions.NoSuchNamespaceError,
        exceptions.NoSuchPropertyException, exceptions.NotInstalledError, exceptions.SignError,
        exceptions.ValidationError, exceptions.ValidationException, ImportError, ValueError,
    ) as exc:  # fmt: skip
        raise RefusedError(f"cannot {doing}: {_text(exc)}") from exc


def _of_files(exc: OSError, doing: str) -> ConnectError:
    text = _text(exc)
    for sign, why in _REFUSALS.items():
        if sign in text:
            return RefusedError(f"cannot {doing}: {why}")
    # pyiceberg makes these of what Arrow is refused, with the cause behind them.
    cause = exc.__cause__
    if isinstance(cause, OSError):
        return _of_files(cause, doing)
    kind = RefusedError if isinstance(exc, PermissionError | FileNotFoundError) else RetriableError
    return kind(f"cannot {doing}: {text}")


def _text(exc: BaseException) -> str:
    """The first line, which tells enough."""
    return (str(exc).strip() or type(exc).__name__).splitlines()[0]
