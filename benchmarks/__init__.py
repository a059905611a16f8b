"""Timings, each as a ratio of two things that alternate in one run: `python -m benchmarks.NAME`."""
