"""Settings of nbgrader for this course; docs/grading.md says where they go."""

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - nbgrader's

# Seconds for one cell, where nbgrader itself stops it after 30: the trainings of notebook 4 take minutes on a slow machine.
c.Execute.timeout = 900
