"""Appointments: what they are, what rules they keep, how they are booked and listed."""
