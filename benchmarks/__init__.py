"""Every performance claim as one runnable module: python -m benchmarks.NAME."""
