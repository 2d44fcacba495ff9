"""Background jobs: what must happen later than the request that causes it, such as mail and sweeps.

A feature defers a job with :func:`defer`, in the transaction of the change that causes it. So there is never a change
without its job, nor a job without its change. A :class:`Runner` runs the kinds of jobs that it was given. A job runs at
least once, and again after a failure or the death of its worker. So every job must be idempotent.
"""

from appointments.jobs.queue import Counts, Job, Listed, cancel, counts, defer, listing, run_again
from appointments.jobs.runner import GiveUp, Kind, Later, Runner

__all__ = [
    "Counts",
    "GiveUp",
    "Job",
    "Kind",
    "Later",
    "Listed",
    "Runner",
    "cancel",
    "counts",
    "defer",
    "listing",
    "run_again",
]
