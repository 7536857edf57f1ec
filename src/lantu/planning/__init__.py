"""What training will take before it is paid for: memory, time, money, energy, and the loss that it may reach."""
