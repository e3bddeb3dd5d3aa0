"""The contenders of benchmarks.training: each trains the same student in a process of its own."""
