"""Beside the stages, fetch: downloads that fill the data folder."""
