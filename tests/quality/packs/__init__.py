"""Packs of invented tools, a domain each, that no planner was made for."""
