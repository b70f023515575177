"""What TensorRT-LLM does, checked on the real one where there is a GPU, and on our fake everywhere else."""
