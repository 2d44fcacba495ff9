"""What leaves and comes back as iCalendar (RFC 5545): invitations by mail, feeds and exports."""
