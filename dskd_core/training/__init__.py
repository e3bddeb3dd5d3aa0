"""Distillation: a student that is half the teacher, drawn to the senses of the dictionary."""
