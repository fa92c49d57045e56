"""Many streams over one session, stepped as one batch."""
