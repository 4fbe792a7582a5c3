#!/usr/bin/env python3
"""Send the oracle's probes to an API server: record its answers, or check them against recorded ones.

    run.py --server URL --token T [--insecure] --record DIR SCENARIO...
    run.py --server URL --token T [--insecure] --check DIR SCENARIO...

SCENARIO is a file or a folder of files. README.md, beside this file, has the format and what is compared.
Exit code: 0 all equal (or recorded), 1 differences, 2 a scenario file or an argument is wrong.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

from oraclelib import compare, engine
from oraclelib.scenario import Scenario, ScenarioError, load_all
from oraclelib.session import Session, read_users

HERE = Path(__file__).resolve().parent


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="+", metavar="SCENARIO", help="scenario files, or folders of them")
    parser.add_argument("--server", required=True, help="base URL of the server")
    parser.add_argument("--token", required=True, help="bearer token of a user in group system:masters")
    parser.add_argument("--users", type=Path, default=HERE / "users.csv", help="tokens of the other users")
    parser.add_argument("--insecure", action="store_true", help="do not verify the server's certificate")
    parser.add_argument("--jobs", type=int, default=4, help="scenarios at a time (default 4)")
    parser.add_argument("--area", action="append", help="only scenarios of this area; may be repeated")
    parser.add_argument("--optional", action="store_true", help="also run the scenarios marked optional")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="NEED",
        help="skip scenarios that require this, for example 'controllers'; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON document")
    parser.add_argument("--messages", action="store_true", help="differences in texts alone fail the check too")
    parser.add_argument("--verbose", action="store_true", help="name each scenario when it is done")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--record", type=Path, metavar="DIR", help="write the answers here")
    what.add_argument("--check", type=Path, metavar="DIR", help="compare with the answers here")
    return parser.parse_args(argv)


async def answers(options: argparse.Namespace, scenarios: list[Scenario]) -> dict[str, dict]:
    """Run all scenarios, `--jobs` at a time; returns scenario name -> step id -> record."""
    slots, results = asyncio.Semaphore(options.jobs), {}
    async with Session(options.server, options.token, read_users(options.users), options.insecure) as session:

        async def one(scenario: Scenario) -> None:
            async with slots:
                began = time.monotonic()
                results[scenario.name] = await engine.run(scenario, session)
                if options.verbose:
                    print(
                        f"{scenario.name}: {len(results[scenario.name])} steps, {time.monotonic() - began:.1f} s",
                        file=sys.stderr,
                    )

        # those that wait for controllers take longest: start them first
        await asyncio.gather(*(one(s) for s in sorted(scenarios, key=lambda s: not s.requires)))
    return results


def record(folder: Path, scenarios: list[Scenario], results: dict[str, dict]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for scenario in scenarios:
        lines = (
            f"{json.dumps(step)}: {json.dumps(kept, sort_keys=True, ensure_ascii=False, separators=(',', ':'))}"
            for step, kept in results[scenario.name].items()
        )
        (folder / f"{scenario.name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    failed = [
        f"{name}/{step}: {kept}"
        for name, steps in results.items()
        for step, kept in steps.items()
        if "failed" in kept or "late" in kept
    ]
    print("\n".join([*failed, f"{sum(map(len, results.values()))} steps of {len(scenarios)} scenarios recorded"]))
    return 1 if failed else 0


def check(options: argparse.Namespace, scenarios: list[Scenario], results: dict[str, dict]) -> int:
    report = compare.Report()
    for scenario in scenarios:
        recorded = json.loads((options.check / f"{scenario.name}.json").read_text())
        for step in results[scenario.name].keys() - recorded.keys():
            print(f"{scenario.name}/{step}: no recorded answer; record it before checking", file=sys.stderr)
        soft = {step["id"]: step["soft"] for step in scenario.steps if "soft" in step}
        report.add(scenario.name, scenario.area, recorded, results[scenario.name], soft)
    summary = report.summary()
    if options.json:
        print(json.dumps({"summary": summary, "differences": [vars(d) for d in report.differences]}, indent=1))
    else:
        for difference in report.differences:
            if difference.kind != compare.MESSAGES or options.messages:
                print(difference.line())
        print("steps that differ, by class:", ", ".join(f"{k} {n}" for k, n in summary["by_class"].items()))
        print(
            "equal steps, by area:",
            ", ".join(f"{area} {c['equal']}/{c['steps']}" for area, c in summary["by_area"].items()),
        )
        print(f"{report.steps} steps, {report.steps - report.different} equal, {report.different} different")
    return 1 if report.different or (options.messages and report.differences) else 0


def main() -> int:
    options = arguments()
    try:
        scenarios = load_all(options.scenarios)
    except (ScenarioError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 2
    scenarios = [
        s
        for s in scenarios
        if (not options.area or s.area in options.area)
        and (options.optional or options.record or not s.optional)
        and not set(s.requires) & set(options.without)
    ]
    if options.check:
        missing = [s.name for s in scenarios if not (options.check / f"{s.name}.json").exists()]
        if missing:
            print(f"no recorded answers for {', '.join(missing)} in {options.check}", file=sys.stderr)
            return 2
    results = asyncio.run(answers(options, scenarios))
    return record(options.record, scenarios, results) if options.record else check(options, scenarios, results)


if __name__ == "__main__":
    sys.exit(main())
