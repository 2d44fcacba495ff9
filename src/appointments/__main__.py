"""``python -m appointments``: the command line."""

from appointments.server.main import main

if __name__ == "__main__":
    main()
