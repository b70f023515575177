"""Servicers: they translate between messages and the domain, and decide nothing.

Identity, limits, deadlines and error mapping are the interceptor chain's; what a call means is
`orchestration`'s. A servicer raises domain errors and never touches a status code.
"""
