"""What the service costs, side by side with what bounds it: ``make bench``. Not part of the wheel."""
