"""Models: engines (token ids), chat models (messages), and everything between them.

Implements the protocols of `orchestration.chat`. Native inference code never runs here: engines
live in hosts of their own (`podium.engine`), reached over gRPC.
"""
