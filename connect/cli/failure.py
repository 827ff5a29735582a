"""How a command fails, and the exit codes of `millstream`."""

OK = 0
FAILED = 1  # what was asked for did not work
USAGE = 2  # bad options, files or settings
UNHEALTHY = 3  # `connectors status`: the answer is there, and something in it is FAILED


class Failure(Exception):
    """One sentence for the user, without a stack trace."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
