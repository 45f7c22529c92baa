"""The engine over HTTP: its own routes, and the Open Inference Protocol v2.

Needs what requirements.txt lists for server.py: fastapi, uvicorn, prometheus-client.
"""
