"""The worker settings that the REST layer reads."""

from connect.api import Config, Importance, setting
from connect.rest.header_rules import check_header_rules


class RestSettings(Config):
    admin_listeners: list[str] | None = setting(
        "admin.listeners",
        default=None,
        importance=Importance.LOW,
        doc="Where /admin is served, as http://host:port or https://host:port, separated by commas; unset: "
        "where the rest is; empty: nowhere.",
    )
    rest_extension_classes: list[str] = setting(
        "rest.extension.classes",
        default=[],
        importance=Importance.LOW,
        doc="org.apache.kafka.connect.rest.basic.auth.extension.BasicAuthSecurityRestExtension for basic "
        "auth; no other is there.",
    )
    basic_auth_file: str | None = setting(
        "millstream.rest.basic.auth.file",
        default=None,
        importance=Importance.LOW,
        doc="Properties file with a line user=password for each user of REST; unset: anybody may call, "
        "unless rest.extension.classes asks for basic auth.",
    )
    response_headers: str = setting(
        "response.http.headers.config",
        default="",
        importance=Importance.LOW,
        check=check_header_rules,
        doc="Headers for every answer: rules `[set|add|setDate|addDate] [name]:[value]`, separated by "
        "commas, in double quotes where there is a comma inside.",
    )
    access_control_allow_origin: str = setting(
        "access.control.allow.origin",
        default="",
        importance=Importance.LOW,
        doc="Origins whose pages may call this API from a browser, separated by commas; * stands for any "
        "text; empty: none (CORS).",
    )
    access_control_allow_methods: str = setting(
        "access.control.allow.methods",
        default="",
        importance=Importance.LOW,
        doc="Methods allowed to such pages, separated by commas; empty: GET, POST and HEAD.",
    )
