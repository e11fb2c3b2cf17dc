"""What the operator and a runner's pod agree on: the container's name, its port, and where files are mounted."""

CONTAINER = "runner"
PORT = 9090
"""Serves /healthz, /progress and /metrics."""
CONFIG = "/etc/perfbench"
"""Manifest, plugins and CA certificate."""
DATA = "/data"
"""The dataset's ConfigMap or claim."""
RESULTS = "/results"
"""The results claim."""
TERMINATION_LOG = "/dev/termination-log"
"""Where the runner writes its termination message."""
