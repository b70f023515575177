"""One module per system under test, each run as a process of its own; see `serving` for what they speak."""
