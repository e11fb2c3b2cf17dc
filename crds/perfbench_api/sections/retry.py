"""`spec.load.retry`: whether requests that the target refuses for now are sent again."""

from pydantic import Field

from perfbench_api.values import Duration, Section


class Retry(Section):
    """Send a request again that is answered with 429 or 503, after as long as the answer says (Retry-After)."""

    times: int = Field(3, ge=1, le=100)
    """How often a request is sent again at most."""
    wait: Duration = Field(1.0, ge=0)
    """Where the answer does not say how long: so long before the first time, twice as long before each further one."""
    max_wait: Duration = Field(30.0, ge=0)
    """Longest wait; a request whose answer asks for a longer one is given up."""
