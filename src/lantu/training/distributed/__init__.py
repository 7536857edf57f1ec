"""Several processes: starting ranks, joining them, following their progress, sharding."""
