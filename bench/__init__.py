"""What the service costs, side by side with what bounds it: ``make bench``. Part of the repository, not of the wheel."""
