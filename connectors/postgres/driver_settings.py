"""`driver.*`: what Debezium hands to pgjdbc, for libpq.

https://jdbc.postgresql.org/documentation/use/ and
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS.
"""

from collections.abc import Mapping
from typing import Final

PREFIX: Final = "driver."
_NAMES: Final = {
    "ApplicationName": "application_name", "channelBinding": "channel_binding",
    "connectTimeout": "connect_timeout", "loginTimeout": "connect_timeout", "gssEncMode": "gssencmode",
    "kerberosServerName": "krbsrvname", "loadBalanceHosts": "load_balance_hosts", "options": "options",
    "requireAuth": "require_auth", "sslNegotiation": "sslnegotiation", "sslcert": "sslcert",
    "sslkey": "sslkey", "sslmode": "sslmode", "sslpassword": "sslpassword", "sslrootcert": "sslrootcert",
    "targetServerType": "target_session_attrs", "tcpKeepAlive": "keepalives",
}  # fmt: skip
_VALUES: Final = {
    "target_session_attrs": {
        "master": "primary", "secondary": "standby", "preferSecondary": "prefer-standby",
        "preferPrimary": "any", "slave": "standby", "preferSlave": "prefer-standby",
    },
    "keepalives": {"true": "1", "false": "0"},
    "load_balance_hosts": {"true": "random", "false": "disable"},
}  # fmt: skip


def libpq_parameters(properties: Mapping[str, str]) -> dict[str, str]:
    """libpq's parameters for the settings of the driver that it has, too."""
    found: dict[str, str] = {}
    for name, value in properties.items():
        parameter = _NAMES.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
        if parameter is not None:
            found[parameter] = _VALUES.get(parameter, {}).get(value, value)
    return found


def without_effect(properties: Mapping[str, str]) -> list[str]:
    """Settings of the driver that libpq does not have."""
    return [
        name for name in properties if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in _NAMES
    ]
