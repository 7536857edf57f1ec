"""The parts of scripts/bench/gpu.py; each is a process of its own, so that what fails or hangs stops nothing else."""
