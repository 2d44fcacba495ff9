"""``appointments recurrence``: shows when a rule happens, to a person or to a program. It needs no database."""

import sys

import click

from appointments.calendar.recurrence import BadRule, occurrences, parse, wall_at
from appointments.calendar.recurrence import lines as questions

SHOWN = 10


@click.command("recurrence")
@click.argument("rule", required=False)
@click.option("--start", metavar="WALL TIME", help="DTSTART, such as 2026-01-30T09:00; a date alone for whole days.")
@click.option("--zone", metavar="IANA ZONE", help="Whose clock the rule follows, such as Europe/Zurich.")
@click.option("--after", metavar="WALL TIME", help="Only what is after it.")
@click.option("--before", metavar="WALL TIME", help="Only what is before it.")
@click.option("--limit", type=click.IntRange(1, questions.MOST), default=SHOWN, show_default=True)
@click.option("--jsonl", is_flag=True, help="Answer JSON objects on standard input, one a line, with one line each.")
def recurrence(  # noqa: PLR0917 - click gives them by name
    rule: str | None,
    start: str | None,
    zone: str | None,
    after: str | None,
    before: str | None,
    limit: int,
    jsonl: bool,
) -> None:
    """Show when a recurrence rule of RFC 5545 happens.

    With --jsonl the objects have the fields rule, start, zone, added, excluded, after, before, limit and date_only.
    """
    if jsonl:
        for answer in questions.answers(sys.stdin.buffer):
            click.echo(answer)
        return
    if not rule or not start:
        raise click.UsageError("a rule and --start are needed, or --jsonl")
    asked = {"rule": rule, "start": start, "zone": zone, "after": after, "before": before, "limit": limit}
    try:
        question = questions.question(asked | {"date_only": len(start) == len("2026-01-30")})
        found = questions.expand(question)
    except (BadRule, ValueError, OverflowError) as error:
        raise click.ClickException(f"{rule}: {error}") from None
    first = next(occurrences(parse(rule), question.start, question.zone))
    if wall_at(first.at, question.clock) != question.start and not question.after:
        click.echo("The rule does not meet its start. A series would begin with it all the same.", err=True)
    for each in found:
        click.echo(each)
