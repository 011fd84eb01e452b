"""The gRPC endpoint. gRPC itself writes a line about every call that it refuses, so it is told not to."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
