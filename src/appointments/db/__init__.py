"""PostgreSQL, as the features see it. They import from here, and from nothing inside."""

from appointments.db.database import Database
from appointments.db.replica import Reads
from appointments.db.statement import Connection, Micros, Row, Statement, Values, instant, micros

__all__ = ["Connection", "Database", "Micros", "Reads", "Row", "Statement", "Values", "instant", "micros"]
