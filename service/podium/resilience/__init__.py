"""Breakers, buckets and the lifecycle: what keeps the service up when something else is not.

Nothing here knows gRPC, SQL or HTTP; time comes in as a clock.
"""
