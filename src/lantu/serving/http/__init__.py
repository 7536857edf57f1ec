"""An HTTP server for one model: Starlette and uvicorn, with micro-batching, limits, metrics and reload."""
