"""What must be left of a run when everything is final: nothing that anybody still holds, counts or waits for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.simulation.nodes import ServerNode, WorkerNode

if TYPE_CHECKING:
    from tests.simulation.world import World


def unsettled(world: World) -> list[str]:
    """Ledgers, books and sessions that are not at rest; empty when all are."""
    found = [what for worker in world.workers for what in of_worker(worker)]
    found += [what for server in world.servers for what in of_server(server)]
    lives = {worker.life for worker in world.workers}
    for session in world.backing.live_sessions():
        if session not in lives:
            found.append(f"the session of {session}, which has ended, is still live")
    return found


def of_worker(node: WorkerNode) -> Iterator[str]:
    worker = node.worker
    if not node.alive or worker is None or not node.ready.is_set():
        yield f"{node.life} does not run"
        return
    link = worker.link
    if not link.state.connected:
        yield f"{node.life} is not connected"
    counts = {
        "attempts in its ledger": link.ledger.running,
        "outcomes unacknowledged": link.ledger.unacknowledged,
        "attempts in its executors": worker.crew.held,
    }
    for what, count in counts.items():
        if count:
            yield f"{node.life} has {count} {what}"


def of_server(node: ServerNode) -> Iterator[str]:
    if not node.alive or not node.ready.is_set():
        yield f"{node.life} does not run"
        return
    counts = {"submissions in its mailbox": node.intake.address.depth() if node.intake is not None else 0}
    coordinator = node.coordinator
    if coordinator is not None:
        keeper = coordinator.sessions
        counts |= {
            "attempts on the books of its links": sum(link.held for link in coordinator.membership),
            "claims on the books of its links": sum(len(link.claims) for link in coordinator.membership),
            "reports in its mailbox": coordinator.completer.address.depth(),
            "reports unanswered": coordinator.completer._open,
            "acceptances to be noted": len(keeper._accepted) + len(keeper._started),
            "graces": len(keeper._graces),
            "claims asked for": len(coordinator.dispatcher.claiming),
        }
    for what, count in counts.items():
        if count:
            yield f"{node.life} has {count} {what}"
