"""Fault harnesses: kills, two processes at once, a faulty network and hostile files; see `python -m reliability --help`."""
