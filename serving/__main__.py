"""`python -m serving`: see `serving.server.run`."""

import sys

from serving.server.run import main

sys.exit(main())
