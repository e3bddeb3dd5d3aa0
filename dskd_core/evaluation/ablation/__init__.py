"""Many settings, one table."""
