"""The student: which layers it has, which of them train, and how it is published."""
