"""Stage 1, data: the benchmarks, their ground truth and photographs, and the training photographs."""
