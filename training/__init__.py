"""Teaches the embedded model to plan tool calls: invented tools, examples made of them, training, evaluation.

Nothing here is installed with the service. What training and service must agree on (how a tool is
shown to the model and how it writes a call) lives in `podium.inference.planner` and is imported from there.
"""
