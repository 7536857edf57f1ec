"""A trained model as MLflow knows one: with a signature, loadable by any MLflow client that has Lantu installed."""
