"""The backstop behind every call's deadline."""

import asyncio

import pytest

from appointments.api import deadlines
from appointments.api.deadlines import Deadlines


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "INTERVAL", 0.01)


async def test_a_call_without_end_is_ended() -> None:
    """With a TimeoutError inside the task, which goes on."""
    ends = Deadlines()
    with pytest.raises(TimeoutError), ends.within(0.02):
        await asyncio.Event().wait()
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_calls_that_end_in_time_are_left_alone() -> None:
    """However many, and whatever they raise."""
    ends = Deadlines()

    async def call(number: int) -> int:
        with ends.within(30):
            await asyncio.sleep(0.03)
            if number % 2:
                raise ValueError(number)
            return number

    outcomes = await asyncio.gather(*(call(number) for number in range(100)), return_exceptions=True)
    assert list(range(0, 100, 2)) == [each for each in outcomes if isinstance(each, int)]
    assert [ValueError] * 50 == [type(each) for each in outcomes if not isinstance(each, int)]


async def test_the_long_and_the_short_end_apart() -> None:
    """The one whose time is over, and no other."""
    ends = Deadlines()

    async def call(seconds: float) -> str:
        try:
            with ends.within(seconds):
                await asyncio.sleep(0.1)
        except TimeoutError:
            return "ended"
        return "done"

    assert ["ended", "done", "ended"] == list(await asyncio.gather(call(0.01), call(30), call(0.01)))


async def test_a_cancellation_from_outside_stays_one() -> None:
    """Whoever cancels a call sees it cancelled."""
    ends = Deadlines()

    async def call() -> None:
        with ends.within(30):
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_sleeps_when_there_is_nothing_to_look_at() -> None:
    """And wakes for the next call."""
    ends = Deadlines()
    for _ in range(2):
        with pytest.raises(TimeoutError), ends.within(0.01):
            await asyncio.Event().wait()
        await asyncio.sleep(0.05)
        assert ends._timer is None
