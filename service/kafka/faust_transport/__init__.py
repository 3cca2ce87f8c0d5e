"""Faust over aiokafka with its faults put right; tests/upstream shows each of them on the stock classes.

| file | what it is |
|---|---|
| `app` | `build_app`: the app with settings that hold, run by `run_until` |
| `transport`, `consumer`, `thread`, `producer` | the driver's classes, overridden |
| `ledger` | which offsets may be committed: pure |
| `held` | fetched records that are not yet delivered: pure |
| `table` | a table in memory, a codec for its values, a changelog of our own making |
| `fuse` | a failure anywhere stops the worker |
| `security` | TLS and SASL from a plain mapping |
"""

from .app import AppFailedError, GuardedApp, build_app
from .fuse import Fuse, Reason
from .table import KeyedTable, drop_foreign_keys, keyed_table
from .transport import Transport

__all__ = [
    "AppFailedError",
    "Fuse",
    "GuardedApp",
    "KeyedTable",
    "Reason",
    "Transport",
    "build_app",
    "drop_foreign_keys",
    "keyed_table",
]
