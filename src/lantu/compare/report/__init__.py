"""The report: one HTML page, its charts, and the pictures for MLflow."""
