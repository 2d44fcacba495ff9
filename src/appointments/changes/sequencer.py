"""The sequencer: gives committed rows of the log their positions, one batch at a time in the whole database.

The promise: nothing ever appears at or below a position that somebody has read already, and the versions of one item
are in order. A batch takes committed rows only, and it becomes visible as a whole before the next one begins, because
the row of ``change_head`` is locked while a batch is numbered. So the transactions that make changes take no extra lock
and draw no number. Nobody waits for transactions that are still open, in this database or in others of the cluster.

The same statement inserts the deliveries of webhooks.

Every process numbers, soon after each write of its own. Every 250 ms each process also numbers what is left over, in
case the process that wrote it has died.
"""

import asyncio
from contextlib import suppress
from typing import NamedTuple

import structlog

from appointments.db import Database, Statement
from appointments.shared.errors import Unavailable

TICK_SECONDS = 0.25
"""How long a change waits for its position if the process that made it has died."""

GATHER_SECONDS = 0.02
"""How long a batch waits for further changes to join it."""

TRY_AGAIN_SECONDS = 0.005
"""How soon to try again while another process numbers. Its batch may have begun before our change was committed."""

BATCH = 2000

FORGET_SECONDS = 60.0
"""How often the floor is reset, so that the search begins at the first row again."""

_log = structlog.get_logger("appointments.changes")


class _Outcome(NamedTuple):
    waiting: bool
    had_turn: bool
    numbered: int
    last_position: int
    oldest_running: int
    next_transaction: int
    last_id: int


class Sequencer:
    """Numbers on behalf of one process. ``numbered`` is set after every batch that this process has numbered."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.numbered = asyncio.Event()
        # Deleted rows stay in the index as long as any transaction might see them. The floor lets the search skip them.
        self._floor = 0
        self._floor_from = 0.0
        self._candidate: tuple[int, int | None] | None = None

    async def run(self) -> None:
        """Number until cancelled. While the database is unavailable, keep trying."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._db.written.wait()
                await asyncio.sleep(GATHER_SECONDS)
            self._db.written.clear()
            try:
                await self.settle()
            except Unavailable:
                pass  # db/database.py has logged it
            except Exception as error:  # noqa: BLE001 - the last line: nobody would learn of anything any more
                _log.error("changes cannot be numbered", exc_info=error)

    async def settle(self) -> None:
        """Return when everything that was committed before this call has its position.

        Raises:
            Unavailable: the database does not answer.
        """
        outcome = await self._number()
        while outcome.waiting and not self._is_done(outcome):
            if not outcome.had_turn:
                await asyncio.sleep(TRY_AGAIN_SECONDS)
            outcome = await self._number()

    @staticmethod
    def _is_done(outcome: _Outcome) -> bool:
        return outcome.had_turn and outcome.numbered < BATCH

    async def _number(self) -> _Outcome:
        now = asyncio.get_running_loop().time()
        if now - self._floor_from > FORGET_SECONDS:
            self._floor, self._floor_from, self._candidate = 0, now, None
        rows = await self._db.fetch(NUMBER, {"floor": self._floor, "most": BATCH})
        outcome = _Outcome._make(rows[0])
        if self._is_done(outcome) or not outcome.waiting:
            self._raise_floor(outcome)
        if outcome.numbered:
            self.numbered.set()
        return outcome

    def _raise_floor(self, outcome: _Outcome) -> None:
        """Raise the floor to an id below which no row can appear any more: all transactions that drew such ids ended.

        A transaction has a number by the time it draws an id, because it has written before. So transactions that had
        begun when the last id was read have lower numbers than the next transaction, whose number is read later.
        """
        if self._candidate is None:
            self._candidate = outcome.last_id, None
        elif (bound := self._candidate[1]) is None:
            self._candidate = self._candidate[0], outcome.next_transaction
        elif outcome.oldest_running >= bound:
            self._floor, self._candidate = max(self._floor, self._candidate[0]), None


# If another process has the head locked, this does nothing. If it has just released it, this statement's snapshot may
# still show rows that the other one has moved: DELETE skips these. If there is nothing to number, nothing is written.
NUMBER = Statement(
    """
    WITH waiting AS MATERIALIZED (
        SELECT id FROM new_changes WHERE id > %(floor)s::bigint ORDER BY id LIMIT %(most)s::bigint
    ), head AS MATERIALIZED (
        SELECT last_position FROM change_head WHERE EXISTS (SELECT FROM waiting) FOR NO KEY UPDATE SKIP LOCKED
    ), moved AS (
        DELETE FROM new_changes
        WHERE id = ANY (ARRAY(SELECT waiting.id FROM waiting, head))
        RETURNING id, calendar_id, kind, item_id, version, actor_id, request_id, fields, changed_at
    ), numbered AS (
        INSERT INTO changes (
            position, calendar_id, kind, item_id, version, actor_id, request_id, fields, changed_at
        )
        SELECT last_position + row_number() OVER (ORDER BY id), calendar_id, kind, item_id, version, actor_id,
               request_id, fields, changed_at
        FROM moved, head
        RETURNING position, calendar_id, kind, item_id, version, actor_id, request_id, fields, changed_at
    ), posted AS (
        INSERT INTO webhook_deliveries (
            id, webhook_id, position, kind, item_id, version, actor_id, request_id, fields, changed_at, state, due_at,
            begun_at, created_at
        )
        SELECT gen_random_uuid(), webhooks.id, position, kind, item_id, version, actor_id, request_id, fields,
               changed_at, 'waiting', now(), now(), now()
        FROM numbered JOIN webhooks ON owner_id = calendar_id
        WHERE disabled_at IS NULL AND (cardinality(kinds) = 0 OR kind = ANY (kinds))
    ), advanced AS (
        UPDATE change_head SET last_position = (SELECT max(position) FROM numbered) WHERE EXISTS (SELECT FROM numbered)
        RETURNING last_position
    )
    SELECT EXISTS (SELECT FROM waiting), EXISTS (SELECT FROM head), (SELECT count(*) FROM numbered),
           coalesce((SELECT last_position FROM advanced), 0),
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
           (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM new_changes_id_seq)
    """
)


async def epoch_anew(db: Database) -> None:
    """Begin a new epoch: every cursor expires, so followers list everything again and follow from there."""
    await db.fetch(NEW_EPOCH, {})


NEW_EPOCH = Statement("UPDATE change_head SET epoch = gen_random_uuid() RETURNING epoch")


async def prune(db: Database, days: int) -> int:
    """Delete entries older than so many days. Return how many. Cursors from before then expire."""
    forgotten = 0
    while batch := (await db.fetch(PRUNE, {"days": days}))[0][0]:
        forgotten += batch
    return forgotten


# Deletes from the oldest entry on, up to the first that is to be kept.
PRUNE = Statement(
    """
    WITH oldest AS MATERIALIZED (
        SELECT position, changed_at < now() - %(days)s::integer * interval '1 day' AS is_old
        FROM changes ORDER BY position LIMIT 1000
    ), old AS MATERIALIZED (
        SELECT position FROM oldest
        WHERE position < coalesce((SELECT min(position) FROM oldest WHERE NOT is_old), 9223372036854775807)
    ), forgotten AS (
        DELETE FROM changes WHERE position IN (SELECT position FROM old) RETURNING position
    ), advanced AS (
        UPDATE change_head SET pruned_position = greatest(pruned_position, (SELECT max(position) FROM forgotten))
        WHERE EXISTS (SELECT FROM forgotten)
    )
    SELECT count(*) FROM forgotten
    """
)
