"""Makes SQLite safe and quick for OpenStack's many threads; to be imported before the service.

A deferred BEGIN that reads and then writes fails at once with "database is locked" when another thread wrote in
between. So a transaction that oslo.db opens for writing takes the write lock at its start (there the busy time-out
of the URL, ``?timeout=60``, applies), and what is left of the error is reported as the deadlock that the services
know how to retry.

oslo.db opens a connection for each transaction, and a new connection reads the whole schema (Neutron's: 200 tables) at
its first statement, which was half of the services' CPU time. Here connections are kept and used again.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy
import sqlalchemy.event
import sqlalchemy.exc
import sqlalchemy.orm
import sqlalchemy.pool
from oslo_db import exception
from oslo_db.sqlalchemy import enginefacade, exc_filters

_create_session = enginefacade._TransactionFactory._create_session


def _create_marked_session(self: Any, mode: Any, *args: Any, **kwargs: Any) -> Any:
    session = _create_session(self, mode, *args, **kwargs)
    if mode is enginefacade._WRITER:
        session.info["lab_writer"] = True
    return session


enginefacade._TransactionFactory._create_session = _create_marked_session


@sqlalchemy.event.listens_for(sqlalchemy.orm.Session, "after_begin")
def _take_write_lock(session: Any, transaction: Any, connection: Any) -> None:
    if session.info.get("lab_writer") and not transaction.nested and connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA user_version = 1")


@exc_filters.filters("sqlite", sqlalchemy.exc.OperationalError, r".*database is locked")
def _locked_is_deadlock(error: Exception, match: Any, engine_name: str, is_disconnect: bool) -> None:
    raise exception.DBDeadlock(error)


_create_engine = sqlalchemy.create_engine


def _create_pooling_engine(*args: Any, **kwargs: Any) -> Any:
    if kwargs.get("poolclass") is sqlalchemy.pool.NullPool:
        # Without a limit: a thread that waits for another's connection could wait for itself.
        kwargs.update(poolclass=sqlalchemy.pool.QueuePool, pool_size=20, max_overflow=-1)
    return _create_engine(*args, **kwargs)


sqlalchemy.create_engine = _create_pooling_engine
