"""`python -m tests.check_history DIR`: exit 0 all hold, 1 violated, 2 inconclusive."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.check_history.judge import judge, report


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m tests.check_history DIR", file=sys.stderr)
        return 2
    judgement = judge(Path(sys.argv[1]))
    print(report(judgement))
    return judgement.code


if __name__ == "__main__":
    raise SystemExit(main())
