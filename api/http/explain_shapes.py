"""How an explanation is shown."""

from __future__ import annotations

from datetime import datetime

from typing_extensions import TypedDict

from actors.model.explain import Explanation
from actors.model.task import shown_state


class ReasonJson(TypedDict):
    code: str
    detail: str
    until: datetime | None  # it goes by itself then


class ExplanationJson(TypedDict):
    id: str
    name: str
    state: str
    summary: str
    reasons: list[ReasonJson]  # why it does not run now; what must go first comes first
    placement: str | None  # where its attempt is or was, and why there
    retry: str | None  # why it is not tried again, and what to do


def explanation_json(explanation: Explanation) -> ExplanationJson:
    task = explanation.facts.task
    return {
        "id": str(task.id),
        "name": task.name,
        "state": shown_state(task),
        "summary": explanation.summary,
        "reasons": [{"code": one.code, "detail": one.detail, "until": one.until} for one in explanation.reasons],
        "placement": explanation.placement,
        "retry": explanation.retry,
    }
