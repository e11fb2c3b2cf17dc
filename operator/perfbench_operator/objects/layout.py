"""What the operator and a runner's pod agree on: the container's name, its port, and where files are mounted."""

CONTAINER = "runner"
PORT = 9090
"""Serves /healthz, /progress and /metrics."""
RUNNERS_PORT = 9091
"""Where the leader of several runners listens to the others."""
TOKEN_KEY = "token"  # noqa: S105  # where a Secret has it
"""Key of a run's Secret."""
CONFIG = "/etc/perfbench"
"""Manifest, plugins and CA certificate."""
DATA = "/data"
"""The dataset's ConfigMap or claim."""
RESULTS = "/results"
"""The results claim."""
TERMINATION_LOG = "/dev/termination-log"
"""Where the runner writes its termination message."""
