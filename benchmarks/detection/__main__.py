"""Detection side by side: `python -m benchmarks.detection [--quick]`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from benchmarks.detection import table
from benchmarks.detection.kept import Kept
from benchmarks.detection.match import DEFAULTS, OURS, SHIPPED, Entry, Terms, play, thresholds
from benchmarks.detection.scoring import Report, Tally, report
from benchmarks.detection.spread import intervals
from benchmarks.page import write_block
from benchmarks.process import ROOT

DOCS = ROOT / "docs" / "detection.md"
BLOCK = "<!-- figures: detection -->"
QUICK_CLIENTS = 10
QUICK_CALLS = 15_000


def main() -> int:
    """Play, print, and answer 1 if `--quick` finds a peer that we do not beat."""
    args = _arguments()
    budgets = tuple(sorted(args.budgets))
    quick_count = QUICK_CLIENTS if args.quick else None
    parts: dict[Entry, list[Tally]] = {}
    by_seed: dict[int, Report] = {}
    kept = None if args.fresh else Kept.of_present_code()
    cpu_s: dict[str, float] = {}
    calls = 0
    for seed in args.seeds:
        terms = Terms(
            seed=seed,
            count=args.clients or quick_count,
            variants=args.variants or (1 if args.quick else 2),
            budgets=budgets,
            ours=not args.peers_only,
            tuned=not args.quick,
            max_calls=args.max_calls or (QUICK_CALLS if args.quick else Terms.max_calls),
        )
        limits = thresholds(terms, args.processes, kept)
        played = play(terms, limits, args.processes, kept)
        calls += played.calls
        for name, seconds in played.cpu_s.items():
            cpu_s[name] = cpu_s.get(name, 0.0) + seconds
        for entry, found in played.tallies.items():
            parts.setdefault(entry, []).append(found)
        if terms.ours:
            by_seed[seed] = report(played.tallies[OURS, DEFAULTS])
    tallies = {entry: Tally.joined(listed) for entry, listed in parts.items()}
    reports = {entry: report(found) for entry, found in tallies.items()}
    text = _text(reports, tallies, budgets, by_seed)
    print(text)
    line = _line(reports, budgets) | {
        "seeds": {seed: table.figures(found) for seed, found in by_seed.items()} or args.seeds,
        "calls": calls,
        "cpu_us_per_call": {name: round(1e6 * s / max(calls, 1), 2) for name, s in cpu_s.items()},
    }
    print(json.dumps(line))
    if args.json:
        args.json.write_text(json.dumps(line, indent=1) + "\n", encoding="utf-8")
    if args.write_docs:
        write_block("detection", text, DOCS)
    if args.quick and not args.peers_only:
        reasons = table.lost_against(reports, budgets)
        for reason in reasons:
            print(f"not beaten: {reason}", file=sys.stderr)
        return 1 if reasons else 0
    return 0


def _text(
    reports: dict[Entry, Report],
    tallies: dict[Entry, Tally],
    budgets: tuple[float, ...],
    by_seed: dict[int, Report],
) -> str:
    any_report = next(iter(reports.values()))
    parts = [
        f"{any_report.material.n} material incidents ({any_report.large_n} large), {any_report.launches} launches,"
        f" {any_report.clean_months:.1f} clean workflow-months, all of held-out clients.\n"
    ]
    for budget in budgets:
        setting = f"{budget:g}"
        mine = setting if (OURS, setting) in reports else DEFAULTS
        parts.append(f"### At most {setting} false pages per workflow-month on the train clients\n")
        parts.append(table.contest(reports, setting, mine))
    parts += ["### As shipped\n", table.contest(reports, SHIPPED)]
    if (OURS, DEFAULTS) in reports:
        ours = reports[OURS, DEFAULTS]
        parts += ["### Ours at its defaults, by kind\n", table.kinds(ours)]
        parts += ["### Spread\n", table.intervals(intervals(tallies[OURS, DEFAULTS]), ours)]
        if len(by_seed) > 1:
            parts.append(table.over_seeds(by_seed))
    return "\n".join(parts)


def _line(reports: dict[Entry, Report], budgets: tuple[float, ...]) -> dict[str, object]:
    line: dict[str, object] = {"benchmark": "detection"}
    if (OURS, DEFAULTS) in reports:
        line[OURS] = table.figures(reports[OURS, DEFAULTS])
        line[f"{OURS}_at"] = {
            f"{b:g}": table.figures(reports[OURS, f"{b:g}"]) for b in budgets if (OURS, f"{b:g}") in reports
        }
    line["best_peer"] = {f"{b:g}": table.best_peers(reports, f"{b:g}") for b in budgets}
    return line


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="few clients; exit 1 unless every peer is beaten"
    )
    parser.add_argument("--seeds", type=_ints, default=[1], help="such as 1,2,3")
    parser.add_argument("--clients", type=int, help="of each split; default all")
    parser.add_argument("--variants", type=int, help="streams with episodes per client")
    parser.add_argument(
        "--budgets", type=_floats, default=[0.25, 1.0, 4.0], help="false pages per workflow-month"
    )
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--max-calls", type=int, help=f"of one stream; default {Terms.max_calls}")
    parser.add_argument("--fresh", action="store_true", help="play again what was played with the same code")
    parser.add_argument("--peers-only", action="store_true", help="leave ourselves out")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--write-docs", action="store_true", help="put the tables into docs/detection.md")
    args = parser.parse_args()
    # Now, not after an hour.
    if args.write_docs and not (DOCS.exists() and BLOCK in DOCS.read_text(encoding="utf-8")):
        parser.error(f"{DOCS} has no line {BLOCK}")
    return args


def _ints(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _floats(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
