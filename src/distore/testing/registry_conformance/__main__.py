"""Ask a registry on the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
import uuid
from collections import Counter

from distore.testing.registry_conformance.asking import Asking
from distore.testing.registry_conformance.expected import DIST_SERVE, DOCKER_REGISTRY
from distore.testing.registry_conformance.row import MUST, Outcome
from distore.testing.registry_conformance.table import markdown, run_all


def main() -> int:
    """0: no row with MUST failed."""
    parser = argparse.ArgumentParser(
        prog="python -m distore.testing.registry_conformance",
        description="Ask a registry whether it keeps the OCI distribution specification. It pushes, and"
        " deletes what it pushed where a row is about that; use a repository that nobody needs.",
    )
    parser.add_argument("url", nargs="?", help="http://HOST:PORT/ of the registry")
    parser.add_argument("--repository", default="conformance", help="push below this name")
    parser.add_argument("--user", metavar="NAME", help="the password is in CONFORMANCE_PASSWORD")
    parser.add_argument("--insecure", action="store_true", help="take any certificate")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument("--markdown", action="store_true", help="print the page of known results instead")
    args = parser.parse_args()
    if args.markdown:
        print(markdown(DIST_SERVE, DOCKER_REGISTRY), end="")
        return 0
    if args.url is None:
        parser.error("url is missing")
    user = f"{args.user}:{os.environ.get('CONFORMANCE_PASSWORD', '')}" if args.user else None
    asking = Asking(args.url, user=user, verify=not args.insecure)
    counts: Counter[tuple[Outcome, str]] = Counter()
    for result in run_all(asking, prefix=args.repository, unique=lambda: uuid.uuid4().hex):
        row = result.row
        counts[result.outcome, row.level] += 1
        if args.json:
            shown = {
                "name": row.name,
                "level": row.level,
                "section": row.section,
                "outcome": result.outcome.value,
                "why": result.why,
            }
            print(json.dumps(shown), flush=True)
        else:
            why = f": {result.why}" if result.why else ""
            print(f"{result.outcome.value:11} {row.level:6} {row.name}{why}", flush=True)
    if not args.json:
        total = Counter(dict.fromkeys(Outcome, 0))
        for (outcome, _), count in counts.items():
            total[outcome] += count
        print(", ".join(f"{outcome.value}: {count}" for outcome, count in total.items()))
    return 1 if counts[Outcome.FAILED, MUST] else 0


if __name__ == "__main__":
    sys.exit(main())
