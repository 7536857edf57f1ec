"""The training loop: lean steps, compilation, memory allocation."""
