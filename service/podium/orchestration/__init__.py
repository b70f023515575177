"""The heart of Podium: takes a request, lets a model plan, runs the calls, and answers.

Pure asyncio over protocols that this package defines itself (`chat`, `tool`, `journal`). No gRPC,
HTTP or SQL is ever imported here; adapters on either side implement or call these protocols.
"""
