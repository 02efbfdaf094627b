"""Lease arithmetic: the numbers that failover is made of, and the inequalities they must satisfy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTerms:
    """Seconds throughout. Names follow docs/reliability: h, m, b, c, r, T, ε, s, d, g, A."""

    heartbeat: float = 2.0  # h: worker to coordinator, ±10 % jitter, each answered
    missed: int = 3  # m: beats of silence after which either end drops the stream
    reconnect_delay: float = 0.5  # b: cap of the first reconnect delay, full jitter
    connect_limit: float = 1.0  # c: connect, TLS and resume
    renewal: float = 1.0  # r: renewal of leases, flush of start notices
    lease: float = 12.0  # T
    margin: float = 1.5  # ε: a worker stops this long before its lease could end
    sweep: float = 1.0  # s
    poll: float = 1.0  # d: dispatch after a row is due, when no notification came
    grace: float = 3.0  # g: after a closed socket, before conviction
    ack_window: float = 5.0  # A: from the claim to Accepted
    statement_limit: float = 2.0  # ℓ: one statement of the control pool

    @property
    def silence(self) -> float:
        """L: silence after which either end drops the stream."""
        return self.heartbeat * self.missed

    @property
    def unanswered(self) -> float:
        """How long an outcome may stay unanswered before its worker gives the stream up.

        Not before a coordinator has noticed that its database does not answer, and has said so: leaving it then, a
        worker would find no other to sign in at.
        """
        return max(self.silence, 2 * self.renewal + self.statement_limit + self.heartbeat + 0.5)

    @property
    def quiet_period(self) -> float:
        """Q: how long a coordinator's own database must have answered before it convicts anybody."""
        return self.lease + self.renewal

    @property
    def claim_margin(self) -> float:
        """A session whose lease ends sooner than this gets no new work."""
        return min(2.0, self.lease / 6)

    def violations(self) -> list[str]:
        """Every broken inequality, in words with the numbers; empty when the terms are sound."""
        found: list[str] = []

        def need(ok: bool, text: str) -> None:
            if not ok:
                found.append(text)

        resume = self.silence + self.reconnect_delay + self.connect_limit + self.renewal
        usable = self.lease - self.margin
        need(
            resume <= usable,
            f"a worker must be able to resume before it has to stop: silence {self.silence:g} + reconnect "
            f"{self.reconnect_delay:g} + connect {self.connect_limit:g} + renewal {self.renewal:g} = {resume:g} s "
            f"must be at most lease {self.lease:g} - margin {self.margin:g} = {usable:g} s",
        )
        need(self.ack_window < self.lease, f"ack_window {self.ack_window:g} s must be below lease {self.lease:g} s")
        need(
            self.heartbeat <= self.lease / 5,
            f"heartbeat {self.heartbeat:g} s must be at most a fifth of lease {self.lease:g} s",
        )
        need(self.grace >= 1.0, f"grace {self.grace:g} s must be at least 1 s: executors end 0.5 s after their node")
        need(self.margin >= 0.3, f"margin {self.margin:g} s must be at least 0.3 s: cancelling and killing take time")
        return found


DEFAULT = LeaseTerms()
FAST = LeaseTerms(heartbeat=1.0, lease=8.0, grace=2.0, ack_window=3.0)
TEST = LeaseTerms(
    heartbeat=0.4,
    reconnect_delay=0.2,
    connect_limit=0.5,
    renewal=0.2,
    lease=3.0,
    margin=0.4,
    sweep=0.3,
    poll=0.3,
    grace=1.0,
    ack_window=1.0,
    statement_limit=1.0,
)
PROFILES = {"default": DEFAULT, "fast": FAST, "test": TEST}
