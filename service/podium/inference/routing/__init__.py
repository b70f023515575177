"""Choosing among models: routes over several, their order and fallback, and the limits of their providers."""
