"""`evalscope.constants`: the few that plugins use."""

import os

DEFAULT_WORK_DIR = "./outputs"
HEARTBEAT_INTERVAL_SEC = int(os.environ.get("EVALSCOPE_HEARTBEAT_INTERVAL", "60"))


class HubType:
    """Hubs that datasets come from."""

    MODELSCOPE = "modelscope"
    HUGGINGFACE = "huggingface"
    LOCAL = "local"


class VisualizerType:
    """Visualizers of EvalScope; none of them is used here."""

    WANDB = "wandb"
    SWANLAB = "swanlab"
    CLEARML = "clearml"
