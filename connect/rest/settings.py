"""The worker settings that the REST layer reads."""

from connect.api import Config, Importance, setting


class RestSettings(Config):
    access_control_allow_origin: str = setting(
        "access.control.allow.origin",
        default="",
        importance=Importance.LOW,
        doc="Origin whose pages may call this API from a browser, or * for any; empty: none (CORS).",
    )
    access_control_allow_methods: str = setting(
        "access.control.allow.methods",
        default="",
        importance=Importance.LOW,
        doc="Methods allowed to such pages, separated by commas; empty: GET, POST and HEAD.",
    )
