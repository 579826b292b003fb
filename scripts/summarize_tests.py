#!/usr/bin/env python3
"""Counts the test cases of one scripts/test.sh run and prints "N passed, N failed".

Usage: summarize_tests.py RESULTS_DIR

RESULTS_DIR/ctest.xml lists the ctest entries; RESULTS_DIR/<entry>.xml, where the entry is a GoogleTest or pytest program, its
cases. An entry that failed without naming a failed case (a crash, a timeout, a missing program) counts as one failed case.
Exit code 0 if something passed and nothing failed, else 1.
"""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def count_cases(path):
    """(passed, failed names, skipped) of one JUnit file of GoogleTest or pytest; nothing where the file is missing or cut off."""
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return 0, [], 0
    failed = [f"{case.get('classname')}.{case.get('name')}" for case in cases
              if case.find("failure") is not None or case.find("error") is not None]
    skipped = sum(case.find("skipped") is not None or case.get("status") == "notrun" for case in cases)
    return len(cases) - len(failed) - skipped, failed, skipped


def main():
    results = Path(sys.argv[1])
    passed, skipped, failures = 0, 0, []
    for entry in ElementTree.parse(results / "ctest.xml").getroot().iter("testcase"):
        name, entry_passed = entry.get("name"), entry.get("status") == "run"
        case_file = results / f"{name}.xml"
        if case_file.exists():
            case_passed, case_failed, case_skipped = count_cases(case_file)
            passed += case_passed
            skipped += case_skipped
            failures += [f"{name}: {case}" for case in case_failed]
            if not entry_passed and not case_failed:
                failures.append(f"{name}: ended before its last case")
        elif entry.find("skipped") is not None:
            skipped += 1
        elif entry_passed:
            passed += 1
        else:
            failures.append(name)
    for failure in failures:
        print(f"FAILED  {failure}")
    print(f"{passed} passed, {len(failures)} failed" + (f", {skipped} skipped" if skipped else ""))
    return 0 if passed and not failures else 1


if __name__ == "__main__":
    sys.exit(main())
