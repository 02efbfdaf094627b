"""The worker's side of its lease: it stops its own work before anybody else may start it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from actors.model.lease import LeaseTerms
from actors.runtime.periodic import boottime


class WorkerLease:
    """Deadline = when the newest confirmed heartbeat was sent, plus lease, minus margin.

    The table holds the lease until at least the receipt of that heartbeat plus the lease, so this
    deadline always comes first. Times are CLOCK_BOOTTIME seconds.
    """

    def __init__(self, terms: LeaseTerms, *, clock: Callable[[], float] = boottime) -> None:
        self.terms = terms
        self.now = clock
        self.deadline: float | None = None  # None: no session
        self.firm: float | None = None  # the same without what FROZEN vouched for: exclusive tasks end here
        self._sent: OrderedDict[int, float] = OrderedDict()
        self._sequence = 0
        self.confirmed_at: float | None = None

    def signed_in(self, terms: LeaseTerms, hello_sent_at: float) -> float:
        """A session was opened or resumed; its lease counts from when Hello was sent."""
        self.terms = terms
        self._sent.clear()
        return self._extend(hello_sent_at)

    def beat(self) -> int:
        """Numbers the next heartbeat; call it right before sending."""
        self._sequence += 1
        self._sent[self._sequence] = self.now()
        while len(self._sent) > 100:
            self._sent.popitem(last=False)
        return self._sequence

    def confirmed(self, sequence: int, *, firm: bool = True) -> float | None:
        """The renewal of this heartbeat is committed, or (not firm) FROZEN vouches for it; the new deadline."""
        sent = self._sent.get(sequence)
        if sent is None:
            return self.deadline
        for older in [number for number in self._sent if number < sequence]:
            del self._sent[older]
        return self._extend(sent, firm=firm)

    def _extend(self, sent: float, *, firm: bool = True) -> float:
        until = sent + self.terms.lease - self.terms.margin
        if firm and (self.firm is None or until > self.firm):
            self.firm = until
        if self.deadline is None or until > self.deadline:
            self.deadline = until
            self.confirmed_at = self.now()
        return self.deadline

    def ended(self) -> None:
        self.deadline = self.firm = None
        self._sent.clear()

    def firm_left(self) -> float | None:
        """Seconds until exclusive tasks must stop."""
        return None if self.firm is None else self.firm - self.now()

    def left(self) -> float | None:
        """Seconds until the worker must stop; None without a session."""
        return None if self.deadline is None else self.deadline - self.now()
