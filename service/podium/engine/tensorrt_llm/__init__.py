"""TensorRT-LLM behind the engine host's backend protocol.

The real package of that name is imported only by `module.load`, in the host's own process and only
after a probe in a subprocess. Nothing here knows of gRPC except `host`, `capabilities` and `kv_events`.
"""
