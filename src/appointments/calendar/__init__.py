"""Appointments and resources: what they are, the rules for them, and how they are booked and listed."""
