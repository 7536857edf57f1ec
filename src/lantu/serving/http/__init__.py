"""An HTTP server for one model: FastAPI and uvicorn, with micro-batching, limits, metrics and reload."""
