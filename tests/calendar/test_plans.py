"""How PostgreSQL runs the statements of every day: beside a million appointments, and by plans made beside none."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import ClientCursor

from appointments.auth import identity
from appointments.calendar import (
    availability,
    booking,
    booking_rules,
    conflicts,
    frontiers,
    holds,
    moving,
    placement,
    resource_units,
)
from appointments.calendar import listing as agenda
from appointments.calendar.appointment import to_values
from appointments.calendar.log import BY_OWNER
from appointments.calendar.placement import span_values
from appointments.calendar.validation import LONGEST_DAYS
from appointments.changes import reading
from appointments.db.statement import Statement, Values
from appointments.icalendar.invitations import following
from bench.data import BUSY, FIRST, Person, add_busy_people, add_rooms, settle
from tests.conftest import database_dsn
from tests.people import spec

MILLION = 1_000_000

OTHERS = "invitees_by_user"
"""The index by which a list finds whether others invite a person to something."""

Node = dict[str, Any]


@pytest.fixture(scope="module")
def full(postgres_dsn: str, template: str) -> Iterator[tuple[str, Person]]:
    """A database with a million appointments, in by COPY past every constraint; and one of its hundred people."""
    name = f"{template}_full"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        dsn = database_dsn(postgres_dsn, name)
        people = add_busy_people(dsn, MILLION // BUSY)
        with_rooms = add_rooms(dsn, people)
        with psycopg.connect(dsn) as there:
            # Some of what one person books is what others are invited to.
            there.execute(
                """
                INSERT INTO invitees (appointment_id, address, user_id, starts_at, ends_at)
                SELECT appointments.id, guests.id::text, guests.id, start_at, end_at
                FROM appointments
                JOIN users AS guests
                ON abs(hashtext(appointments.id::text)) % 1000 = abs(hashtext(guests.id::text)) % 1000
                WHERE guests.id <> owner_id
                """
            )
            # Thirty series each, which have their rows elsewhere: only how they are found is looked at.
            there.execute(
                """
                INSERT INTO series (
                    id, owner_id, title, description, location, attendees, buffer_before, buffer_after, transparent,
                    all_day, start_wall, length, time_zone, rule, added, excluded, endless, created_at,
                    updated_at, version
                )
                SELECT gen_random_uuid(), users.id, 'Standup', '', '', '[]', 0, 0, false,
                    false, '2030-01-07 09:00', 900000000, 'UTC', 'FREQ=WEEKLY;COUNT=10', '{}', '{}', false, now(),
                    now(), 1
                FROM users CROSS JOIN generate_series(1, 30)
                """
            )
            # And ten thousand people who book nothing, so that nobody is found by reading all of them.
            there.execute(
                """
                WITH strangers AS (
                    INSERT INTO subjects (id, kind) SELECT gen_random_uuid(), 'user' FROM generate_series(1, 10000)
                    RETURNING id
                )
                INSERT INTO users (id, email, display_name, time_zone, password_hash, created_at, updated_at)
                SELECT id, id || '@example.com', 'Stranger', 'UTC', '', now(), now() FROM strangers
                """
            )
        settle(dsn)
        yield dsn, with_rooms[50]
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


EVERY_DAY = ["get", "eight gets", "create", "creates that share a statement", "list of 20", "eight lists of 20"]
EVERY_DAY += ["list of 20, second page", "what others invite to", "what others invite eight to"]


def values_of(case: str, person: Person) -> tuple[Statement, Values]:
    """A statement, and the values with which the service would run it."""
    owner: dict[str, Any] = {"owner_id": person.user_id, "user_id": person.user_id}
    middle = FIRST + timedelta(days=400)
    window = {"since": middle, "until": agenda.END, "after_start": middle - LONGEST_DAYS, "after_id": agenda.NO_ID}
    window["ahead"] = middle + timedelta(days=30)
    everything = {**window, "since": agenda.BEGINNING, "after_start": agenda.BEGINNING - LONGEST_DAYS}
    page = {**window, "after_start": middle + timedelta(days=5)}
    cases: dict[str, tuple[Statement, Values]] = {
        "get": (booking.GET, owner | {"id": person.appointments[0]}),
        "create": (
            booking.CREATE,
            owner
            | to_values(spec())
            | {"id": person.user_id, "request_id": None, "request_digest": None, **BY_OWNER.values},
        ),
        "creates that share a statement": (booking.CREATE_MANY, _eight_creates(person)),
        "create with rooms": (booking.CREATE_WITH_RESOURCES, _create_with_rooms(person)),
        "what is taken": (conflicts.TAKEN_RESOURCES, _create_with_rooms(person) | {"besides": agenda.NO_ID}),
        "list of 20": (agenda.FIRST, owner | window | {"limit": 21}),
        "series that take no time": (frontiers.UNBOOKED, {"until": middle}),
        "eight lists of 20": (agenda.FIRST.for_many, _for_eight(owner | window | {"limit": 21})),
        "eight gets": (booking.GET.for_many, _for_eight(owner | {"id": person.appointments[0]})),
        "list of 20, far ahead": (agenda.AHEAD[agenda.FIRST], owner | window | {"limit": 21}),
        "list of 20, deleted ones too": (agenda.ALL, owner | window | {"limit": 21}),
        "list of 20, from the beginning": (agenda.FIRST, owner | everything | {"limit": 21}),
        "what others invite to": (agenda.INVITED, owner | window | {"limit": 21}),
        "what others invite eight to": (agenda.INVITED.for_many, _for_eight(owner | window | {"limit": 21})),
        "list of 20, second page": (agenda.NEXT, owner | page | {"limit": 21}),
    }
    return cases[case]


def _for_eight(values: Values) -> Values:
    return {name: [value] * 8 for name, value in values.items()}


def _eight_creates(person: Person) -> Values:
    one = to_values(spec()) | {"id": person.user_id, "owner_id": person.user_id, "request_digest": b"x" * 32}
    one |= BY_OWNER.values
    return {name: [value] * 8 for name, value in one.items()} | {
        "attendees": ["[]"] * 8,
        "request_id": [person.user_id] * 8,
        "crowded": [person.user_id],
    }


def _create_with_rooms(person: Person) -> Values:
    return to_values(spec()) | {
        **BY_OWNER.values,
        "id": person.user_id,
        "owner_id": person.user_id,
        "user_id": person.user_id,
        "request_id": None,
        "request_digest": None,
        "resource_ids": [UUID(room) for room in person.rooms],
    }


def explained(dsn: str, statement: Statement, values: Values, mode: str) -> Iterator[Node]:
    """Every node of the plan of the statement as it is prepared; ``mode`` as PostgreSQL's plan_cache_mode."""
    with psycopg.connect(dsn, cursor_factory=ClientCursor) as connection:
        connection.execute(f"SET plan_cache_mode = {mode}")
        connection.execute(b"PREPARE statement AS " + statement.text)
        arguments = ", ".join(f"%({name})s" for name in statement.parameters)
        quoted = {**values, **({"attendees": "[]"} if values.get("attendees") == b"[]" else {})}
        row = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE statement ({arguments})", quoted).fetchone()
        assert row
        connection.rollback()
    yield from _nodes(row[0][0]["Plan"])


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize(
    ("case", "indexes"),
    [
        ("get", {"appointments_pkey"}),
        ("eight gets", {"appointments_pkey"}),
        ("eight lists of 20", {"appointments_by_owner", "appointments_transparent_by_owner", OTHERS}),
        ("create", set()),
        ("list of 20", {"appointments_by_owner", "appointments_transparent_by_owner", OTHERS}),
        (
            "list of 20, far ahead",
            {
                "appointments_by_owner",
                "appointments_transparent_by_owner",
                OTHERS,
                "bookings_no_overlap",
                "series_unbooked",
            },
        ),
        ("series that take no time", {"series_unbooked", "appointments_by_series"}),
        ("list of 20, deleted ones too", {"appointments_by_owner", OTHERS}),
        (
            "list of 20, from the beginning",
            {"appointments_by_owner", "appointments_transparent_by_owner", OTHERS},
        ),
        ("list of 20, second page", {"appointments_by_owner", OTHERS}),
        ("what others invite to", {OTHERS, "invitees_pkey", "appointments_pkey", "users_pkey"}),
        ("what others invite eight to", {OTHERS, "invitees_pkey", "appointments_pkey", "users_pkey"}),
    ],
)
def test_a_million_appointments_are_not_looked_through(
    full: tuple[str, Person], case: str, indexes: set[str], mode: str
) -> None:
    """By index and in its order: no sequential scan, no sort, whether planned for the values or once for all.

    The few series of one person may be looked through.
    """
    dsn, person = full
    nodes = list(explained(dsn, *values_of(case, person), mode))
    found = {node["Node Type"] for node in nodes if node.get("Relation Name") != "series"}
    assert set() == found & {"Seq Scan", "Sort", "Incremental Sort", "Bitmap Heap Scan"}
    assert indexes == {node["Index Name"] for node in nodes if "Index Name" in node}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_creates_that_share_a_statement_look_nothing_through(full: tuple[str, Person], mode: str) -> None:
    """Request ids that were used before are found by their index; only the few subjects may be looked through."""
    dsn, person = full
    nodes = list(explained(dsn, *values_of("creates that share a statement", person), mode))
    assert {"subjects"} >= {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
    assert "appointments_request_id" in {node.get("Index Name") for node in nodes}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("case", ["create with rooms", "what is taken"])
def test_free_units_are_found_unit_by_unit(full: tuple[str, Person], case: str, mode: str) -> None:
    """What others have booked at that time is not looked through; only the few rooms may be."""
    dsn, person = full
    nodes = list(explained(dsn, *values_of(case, person), mode))
    read = {node["Relation Name"] for node in nodes if node["Node Type"] in {"Seq Scan", "Bitmap Heap Scan"}}
    assert {"resources", "resource_units", "resource_grants", "subjects", "users"} >= read
    asked = [node["Index Cond"] for node in nodes if node.get("Index Name") == "bookings_no_overlap"]
    assert asked
    assert all("subject_id = resource_units" in condition for condition in asked)


def _move(person: Person, appointment_id: str) -> dict[str, Any]:
    return {
        "id": UUID(appointment_id),
        "owner_id": person.user_id,
        "start_at": FIRST,
        "end_at": FIRST + timedelta(minutes=1),
        "expected": 1,
        "x_request_id": "some",
    }


def _together(moves: list[dict[str, Any]]) -> Values:
    return {name: [each[name] for each in moves] for name in moves[0]}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_moves_look_nothing_through(full: tuple[str, Person], mode: str) -> None:
    """Alone or together: what moves and what is in its way are found by their indexes, and updated in order."""
    dsn, person = full
    eight = [_move(person, each) for each in person.appointments[:8]]
    for statement, values in ((moving.MOVE, eight[0]), (moving.MOVE_MANY, _together(eight))):
        nodes = list(explained(dsn, statement, values, mode))
        assert {"subjects"} >= {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
        # In the order of what feeds the loop, in which two statements cannot wait for each other.
        (update,) = [n for n in nodes if n["Node Type"] == "ModifyTable" and n["Relation Name"] == "bookings"]
        assert "Nested Loop" == update["Plans"][0]["Node Type"]
    in_the_way = [node["Index Cond"] for node in nodes if node.get("Index Name") == "bookings_no_overlap"]
    assert any("during &&" in condition and "subject_id =" in condition for condition in in_the_way)


def test_plans_of_a_young_database_are_good_when_it_has_grown(dsn: str) -> None:
    """What is planned once while there is next to nothing, and run until PostgreSQL analyzes, does not look through it.

    A scan of a small table is cheap where its rows are joined to many that are asked for together. Thousands of rows
    later it is what a statement spends its time with.
    """
    person = Person(uuid4(), uuid4(), tuple(str(uuid4()) for _ in range(8)))
    eight = [_move(person, each) for each in person.appointments]
    cases = {case: values_of(case, person) for case in EVERY_DAY} | {
        "what is in the way": (conflicts.COLLISIONS, _in_the_way(person)),
        "what is in the way of eight": (conflicts.COLLISIONS.for_many, _for_eight(_in_the_way(person))),
        "move": (moving.MOVE, eight[0]),
        "moves that share a statement": (moving.MOVE_MANY, _together(eight)),
        "what has changed": (reading.ITEMS, {"ids": [UUID(each) for each in person.appointments]}),
        "whose session": (identity.SESSIONS, {"ids": [person.session_id], "now": FIRST}),
        "whose key": (identity.KEYS, {"digests": [b"x" * 32]}),
        "whom a service account acts for": (identity.USERS, {"ids": [person.user_id]}),
    }
    for case, (statement, values) in cases.items():
        nodes = list(explained(dsn, statement, values, "force_generic_plan"))
        read = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
        assert not {"appointments", "bookings", "changes", "invitees", "users", "sessions", "keys"} & read, case


def _in_the_way(person: Person) -> Values:
    """What is asked for a time that somebody finds taken."""
    return {"owner_id": person.user_id, "besides": conflicts.NO_ID, **span_values(spec())}


def _looking_for_time(dsn: str, person: Person) -> dict[str, tuple[Statement, Values]]:
    """What free time, rules and holds are asked for: by twenty people and three rooms."""
    with psycopg.connect(dsn) as connection:
        people = [row[0] for row in connection.execute("SELECT id FROM users LIMIT 20")]
    rooms = [UUID(room) for room in person.rooms]
    middle = FIRST + timedelta(days=400)
    window = {"since": middle, "until": middle + timedelta(days=42), "person_ids": people, "resource_ids": rooms}
    alone = {"owner_id": person.user_id, "user_id": person.user_id}
    return {
        "what is taken of them": (availability.TAKEN, window),
        "how many a day": (booking_rules.STARTS, window | {"besides": agenda.NO_ID}),
        "who they are": (availability.SUBJECTS, alone | {"ids": people + rooms}),
        "whose rules": (booking_rules.RULED, alone | {"resource_ids": rooms, "acted": True}),
        "open holds": (holds.OPEN, alone | {"limit": 11}),
        "expired holds": (holds.EXPIRED, {"limit": 100}),
        "tails": (frontiers.SHORT, window),
        "expired holds in the way": (holds.CLEAR, alone | span_values(spec())),
        "what is in the way of eight": (
            conflicts.COLLISIONS.for_many,
            _for_eight(_in_the_way(person)),
        ),
        "what is in the way": (conflicts.COLLISIONS, _in_the_way(person)),
        **_booking_rooms(person, rooms),
        "lock of a hold": (holds.LOCK, alone | {"id": person.appointments[0]}),
        "lock of a room's units": (resource_units.LOCK_OWNERS, {"owner_ids": people, "resource_id": rooms[0]}),
    }


def _booking_rooms(person: Person, rooms: list[UUID]) -> dict[str, tuple[Statement, Values]]:
    """What is run for a booking of rooms that have rules."""
    place = {"id": person.appointments[0], "with_owner": True, "expires_at": None}
    values = {"owner_id": person.user_id, "user_id": person.user_id, "resource_ids": rooms, "guest_ids": []}
    return {
        "hold of rooms": (placement.HOLD, values),
        "lock": (placement.LOCK_SUBJECTS, values),
        "place": (placement.PLACE, values | place | span_values(spec())),
        "frontiers in the way": (frontiers.IN_THE_WAY, values | span_values(spec())),
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_free_time_is_found_subject_by_subject(full: tuple[str, Person], mode: str) -> None:
    """Only the few rooms may be looked through, never the people, nor what is booked."""
    dsn, person = full
    for case, (statement, values) in _looking_for_time(dsn, person).items():
        nodes = list(explained(dsn, statement, values, mode))
        read = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
        assert {"resources", "resource_units", "resource_grants"} >= read, case
    for case, during in (("what is taken of them", "during &&"), ("tails", "during @>")):
        nodes = list(explained(dsn, *_looking_for_time(dsn, person)[case], mode))
        asked = [node["Index Cond"] for node in nodes if node.get("Index Name") == "bookings_no_overlap"]
        assert asked, case
        assert all("subject_id =" in condition and during in condition for condition in asked), case


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_who_follows_the_log_reads_only_what_is_new(full: tuple[str, Person], mode: str) -> None:
    """Not the log from its beginning, nor the appointments that nothing has happened to."""
    dsn, _ = full
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            """
            INSERT INTO changes (position, calendar_id, kind, item_id, version, changed_at)
            SELECT row_number() OVER (), owner_id, 'appointment.created', id, 1, now()
            FROM (SELECT * FROM appointments LIMIT 100000) AS appointments
            ON CONFLICT ON CONSTRAINT changes_pkey DO NOTHING
            """
        )
        connection.execute("ANALYZE changes")
    nodes = list(explained(dsn, following.FOLLOW, {"gather": 30}, mode))
    read = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
    assert not {"changes", "appointments", "series"} & read
    (log,) = [node for node in nodes if node.get("Index Name") == "changes_pkey"]
    assert '"position" >' in log["Index Cond"]


PLANNED_ONCE = ["what is taken of them", "how many a day", "who they are", "whose rules", "tails"]
PLANNED_ONCE += ["hold of rooms", "lock", "place", "frontiers in the way"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("case", PLANNED_ONCE)
def test_what_a_search_and_a_booking_ask_is_planned_once(full: tuple[str, Person], case: str, few: bool) -> None:
    """For one subject as for twenty: planning takes as long as running, so it must not seem to depend on the values."""
    dsn, person = full
    statement, values = _looking_for_time(dsn, person)[case]
    if few:
        values |= {name: values[name][:1] for name in ("ids", "person_ids", "resource_ids") if name in values}
    with psycopg.connect(dsn, cursor_factory=ClientCursor) as connection:
        connection.execute(b"PREPARE once AS " + statement.text)
        arguments = ", ".join(f"%({name})s" for name in statement.parameters)
        for _ in range(20):
            if statement is placement.PLACE:
                connection.execute("DELETE FROM bookings WHERE appointment_id = %(id)s", values)
            connection.execute(f"EXECUTE once ({arguments})", values)
        row = connection.execute("SELECT generic_plans > custom_plans FROM pg_prepared_statements").fetchone()
        connection.rollback()
    assert row == (True,)


def test_a_create_with_rooms_is_planned_once(full: tuple[str, Person]) -> None:
    """Planning it takes as long as running it, so the planner must not think that it depends on the values."""
    dsn, person = full
    statement, values = values_of("create with rooms", person)
    with psycopg.connect(dsn, cursor_factory=ClientCursor) as connection:
        connection.execute(b"PREPARE once AS " + statement.text)
        arguments = ", ".join(f"%({name})s" for name in statement.parameters)
        for number in range(20):
            start = spec().start_at + number * timedelta(hours=1)
            moved = {"id": UUID(int=number), "start_at": start, "end_at": start + timedelta(hours=1), "attendees": "[]"}
            row = connection.execute(f"EXECUTE once ({arguments})", values | moved).fetchone()
            assert row
        row = connection.execute("SELECT generic_plans > custom_plans FROM pg_prepared_statements").fetchone()
        connection.rollback()
    assert row == (True,)
