"""Make a given batch fit a device: `trainer.memory`."""
