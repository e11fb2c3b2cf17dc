"""A worker's results file, sent to the leader: resumed where it was cut off, and sent again where it did not arrive whole."""

import asyncio
from pathlib import Path

from perfbench_runner.runners.handover import chunk_of, digest_of
from perfbench_runner.runners.leader import UNSTORED_S
from perfbench_runner.runners.link import RETRY_S, UNREACHABLE, LeaderError
from perfbench_runner.runners.messages import CHUNK_BYTES, FileDone, FileState
from perfbench_runner.runners.worker import Worker

AGAIN = ("FileBroken", "CannotStore")
"""Refusals that another try may heal; of a full disk, for a while."""


async def hand_over(worker: Worker, path: Path, workers: int, why_cut: str, deadline_s: float) -> None:
    """Give the leader the file; raises LeaderError when it does not take it in time, or is gone.

    `workers`: load-generating processes of this runner; `why_cut`: why its load ended early, empty where it did not.
    """
    await worker.clocks.compare(is_over=lambda: worker.parted is not None)
    _refuse_if_parted(worker)
    size, sha256 = await asyncio.to_thread(lambda: (path.stat().st_size, digest_of(path)))
    line = worker.clocks.line
    done = FileDone(
        instance=worker.link.instance,
        size=size,
        sha256=sha256,
        workers=workers,
        state="cut" if why_cut else "merged",
        reason=why_cut[:4000],
        offset_s=line.offset_s,
        drift=line.drift,
        at_s=line.at_s,
        bound_s=line.bound_s,
        residual_s=line.residual_s,
    )
    until_s, full_s, why = worker.clock() + deadline_s, None, "there was no time"
    while worker.clock() < until_s and worker.parted is None:
        try:
            await _send(worker, path, size)
            await worker.link.say("file/done", done)
        except LeaderError as error:
            if error.reason == "CannotStore":
                full_s = full_s or worker.clock()
            if error.reason not in AGAIN or worker.clock() - (full_s or worker.clock()) > UNSTORED_S:
                raise
            why = str(error)
        except UNREACHABLE as error:
            why = str(error) or type(error).__name__
        else:
            return
        await asyncio.sleep(RETRY_S)
    _refuse_if_parted(worker)
    raise LeaderError("NotHandedOver", f"the results could not be handed over within {deadline_s:g} s: {why}")


def _refuse_if_parted(worker: Worker) -> None:
    if worker.parted is not None:
        raise LeaderError(worker.parted.reason, worker.parted.message)


async def _send(worker: Worker, path: Path, size: int) -> None:
    url = f"/runners/{worker.link.runner}/file"
    at = FileState.model_validate_json(await worker.link.ask("GET", url)).received
    at = at if at <= size else 0
    while at < size:
        chunk = await asyncio.to_thread(chunk_of, path, at, CHUNK_BYTES)
        answer = await worker.link.ask("PUT", url, chunk, **{"Perfbench-Offset": str(at)})
        at = FileState.model_validate_json(answer).received
