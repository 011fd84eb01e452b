"""Variables that libraries read when they are loaded, in whatever way a step is started. Imports no library.

docker/Dockerfile sets the same: STORAGE for every image, VARIABLES for the one that trains.
"""

import os

VARIABLES = {
    "OMP_WAIT_POLICY": "passive",
    "KMP_BLOCKTIME": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
}
"""Name -> value of a training, unless it is set.

OpenMP threads that spin while they wait (GNU's, then Intel's variable) double the time of a training beside other
programs. By default glibc returns freed memory to the kernel, which clears every page again: a tenth of the time of
reading pictures. It reads its limits when a process starts, so they reach those that read pictures.
"""

STORAGE = {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required", "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required"}
"""Name -> value of every process, unless it is set: what MLflow's own S3 client sends.

By default boto3 sends uploads over TLS in chunks with a checksum behind them and without their length, which many
S3-compatible servers refuse (`MissingContentLength`). Our own client is made so in `serving.runtime.s3`.
"""


def set_variables() -> None:
    """Set them in this process, before torch is imported; what is set stays."""
    for name, value in (VARIABLES | STORAGE).items():
        os.environ.setdefault(name, value)
