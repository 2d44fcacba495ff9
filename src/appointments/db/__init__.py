"""PostgreSQL, as the features see it: statements, transactions that survive a deadlock, and one failure.

Features import from here and from nowhere deeper.
"""

from appointments.db.database import Database
from appointments.db.replica import Reads
from appointments.db.statement import Connection, Micros, Row, Statement, Values, instant, micros

__all__ = ["Connection", "Database", "Micros", "Reads", "Row", "Statement", "Values", "instant", "micros"]
