"""``python -m appointments``: the command line."""

from appointments.server.cli import main

if __name__ == "__main__":
    main()
