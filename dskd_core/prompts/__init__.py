"""Prompts: benchmark questions in chat form, answered by the teacher, to train students on."""
