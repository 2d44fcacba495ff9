"""What must happen later, or outside of a request: mail, sweeps, whatever a feature registers.

A feature defers a job with :func:`defer`, in the transaction of the change that causes it: no change without its job,
no job without its change. A :class:`Runner` runs the kinds that it was given. A job runs at least once, and again after
a failure or after the death of its worker, so whatever it does must bear to be done twice.
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
