"""Where the program begins. What needs no server must not wait until one is imported."""

import sys
from importlib import import_module


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["recurrence"]:
        import_module("appointments.server.recurrence").recurrence(sys.argv[2:], prog_name="appointments recurrence")
    else:
        import_module("appointments.server.cli").main()
