"""Training one student: schedule, step, validation, checkpoint."""
