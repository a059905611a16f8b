"""The study: one machine that trains, scores and keeps every run whose figures this project shows.

`settings` says what a run is, `methods` and `search` which runs there are, `students` trains them, `runs` keeps them, `compare`
and `tables` read them, `figures` draws them, `recipe` writes them into the pages. `python -m study --help` has the commands.
"""
