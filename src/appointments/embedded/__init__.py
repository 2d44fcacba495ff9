"""The embedded development database: a PostgreSQL that comes along, starts with the service and ends with it."""

from appointments.embedded.binaries import DatabaseUnavailable
from appointments.embedded.server import Server, data_folder, default_data, running, scratch, serve

__all__ = ["DatabaseUnavailable", "Server", "data_folder", "default_data", "running", "scratch", "serve"]
