"""Where our answers differ from those of the Java worker on purpose: story, number of the call, reason.

A call that is listed must differ, one that is not must not. `docs/compatibility.md` has the list in words.
"""

BAD_REQUEST = "a request that cannot be read is 400 with a sentence, not 500"
DIFFERENCES: dict[str, dict[int, str]] = {}
