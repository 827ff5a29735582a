"""Where our answers differ from those of the Java worker on purpose: story, number of the call, reason.

A call that is listed must differ, one that is not must not. `docs/compatibility.md` has the list in words.
"""

UNREADABLE = (
    "a request that cannot be read or is incomplete is 400 with a sentence that names the field, not 500"
)
REFUSED_OFFSETS = "offsets that a connector refuses are 400, not 500"
OPENAPI = "the OpenAPI document is served"
NO_PEERS = "workers do not call each other over REST: there are no internal endpoints"
NO_REBALANCE = "a task that is not there is 404, not a 409 that asks to try again"
NULL = "a setting that is null is left out of the stored config"
NAME = "a connector cannot be given another name by PATCH"
NOT_RENAMED = "follows from the PATCH of the name that was refused"
RESET_AT_ONCE = "a reset of the active topics is in force when it is answered"
STATE = "pause and resume show in the state of a connector whose tasks failed"
LEVELS = "the loggers below a namespace are those of Python"
SCOPE = "an unknown scope is refused, not ignored"
NOT_A_PLUGIN = "a class that is no plugin is 404, not 500"
OWN_VERSION = "the one version of our plugins is our own"
NESTED_ALIAS = "the alias of a nested class works for all transforms"
KEYS_ONLY = "a refused config is not repeated in the answer, since it may hold secrets"
NOT_A_CONVERTER = "a class that is no plugin at all is said not to be found"
FORM = "where JsonConverter's settings stand in a form, and how wide, is our own"
OWN_REGEX_WORDS = "a bad regular expression is explained in other words"

DIFFERENCES: dict[str, dict[int, str]] = {
    "root": {19: UNREADABLE, 27: OPENAPI},
    "create_bad": {
        **dict.fromkeys((4, 5, 7, 8, 18, 19, 20, 21, 25, 26, 27, 28, 29, 30, 34, 35, 36), UNREADABLE),
        **dict.fromkeys((6, 11, 31, 32), KEYS_ONLY),
        17: NULL,
    },
    "config_patch": {
        **dict.fromkeys((15, 16, 17, 18, 19), UNREADABLE),
        11: KEYS_ONLY,
        13: NAME,
        **dict.fromkeys((14, 22, 23, 27, 28), NOT_RENAMED),
    },
    "life_cycle": {48: RESET_AT_ONCE},
    "restart_flags": {27: NO_PEERS, 39: NO_REBALANCE},
    "offsets_source": {
        **dict.fromkeys((13, 14, 15, 16, 31, 32, 36, 37), REFUSED_OFFSETS),
        **dict.fromkeys((24, 25, 26, 27, 29, 30, 33, 34, 38), UNREADABLE),
    },
    "topics": {4: RESET_AT_ONCE},
    "failed_tasks": {11: STATE, 13: STATE},
    "loggers": {8: UNREADABLE, 12: UNREADABLE, 13: UNREADABLE, 16: SCOPE, 20: LEVELS},
    "session_key": {0: NO_PEERS, 1: NO_PEERS, 2: NO_PEERS},
    "plugins": {19: NOT_A_PLUGIN, **dict.fromkeys((20, 21, 22), OWN_VERSION)},
    "plugin_configs_transforms": {
        **dict.fromkeys((56, 67, 74, 75), FORM),
        **dict.fromkeys((71, 72), NESTED_ALIAS),
    },
    "validate_file": {
        **dict.fromkeys((7, 33, 34, 35, 36, 37, 38, 41, 42), UNREADABLE),
        18: NOT_A_CONVERTER,
        19: FORM,
        30: OWN_REGEX_WORDS,
    },
}
