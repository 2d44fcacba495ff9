"""When somebody or something can be booked: hours, rules and the arithmetic of free time. No database, no clock."""
