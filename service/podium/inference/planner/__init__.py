"""Planning by the trained model: how tools are shown to it, how it writes calls, and what its words mean as arguments.

`training/` teaches a model exactly these forms and imports them from here, so that the two cannot
drift apart. Nothing here knows a tool by name or reads a setting.
"""
