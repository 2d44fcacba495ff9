"""The process: its settings, its two ports, its workers, the command line, and how it ends."""
