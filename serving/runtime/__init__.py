import os

# From its import on, onnxruntime looks up its maker's telemetry server and writes below the home folder; once it is
# imported nothing stops that. Whoever imports it imports this package first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
