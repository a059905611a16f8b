"""Downloads that fill the data folder."""
