"""What operators see: logs, metrics, health and the HTTP port that shows them.

Every class here is told what happened by its callers, and is wired by the composition root.
Nothing here knows of gRPC, of runs or of tools, and nothing decides anything.
"""
