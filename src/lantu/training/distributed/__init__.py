"""Distributed training: start ranks, join them, follow their progress, shard."""
