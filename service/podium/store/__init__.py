"""Implementations of the stores that the orchestrator defines. Nothing here decides; it keeps."""
