"""Write a trained network for other runtimes, and prove that it answers the same there."""
