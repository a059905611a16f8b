"""The student outside of the notebook: exported, quantised, indexing and searching photographs."""
