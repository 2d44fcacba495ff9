"""What an upgrade keeps waiting: what each migration locks and how long it takes, as ``migration_locks.toml`` has it.

A migration that was applied once cannot be edited, so what is said of it stands beside the files.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

FIRST_STATED = 3
"""The migrations before it made the tables."""


@dataclass(frozen=True, slots=True)
class Effect:
    """``locks``: the mode in which each table is locked for a moment that was there before and that people use.

    ``seconds``: how long it works at ten million appointments, while everything goes on.
    """

    locks: Mapping[str, str]
    seconds: int


@cache
def stated() -> dict[str, Effect]:
    """The effects by the names of the migrations."""
    text = (files("appointments.db") / "migration_locks.toml").read_text(encoding="utf-8")
    return {name: Effect(each["locks"], each["seconds"]) for name, each in tomllib.loads(text).items()}
