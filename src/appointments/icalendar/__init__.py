"""Everything that speaks iCalendar (RFC 5545): invitations by mail, feeds and exports."""
