"""When a status is written: on every change that matters, and figures of a run under way from time to time. Pure."""

from datetime import datetime

from perfbench_operator.kube import Data, moment

FIGURES = {"progress", "live", "lastContact"}
"""Fields that change all the time."""
INTERVAL_S = {"Running": 10.0}
"""How old such figures may become, by phase; in other phases nobody looks at them."""
QUIET_S = 60.0


def is_worth_writing(old: Data, patch: Data, now: datetime) -> bool:
    """Whether a patch is to be sent now: a status costs a request, and everybody who watches a message."""
    if not patch:
        return False
    written = moment(old.get("lastContact"))
    if patch.keys() - FIGURES or not written:
        return True
    age_s = (now - written).total_seconds()
    return not 0 <= age_s < INTERVAL_S.get(str(old.get("phase")), QUIET_S)
