"""GoogleTest programs of the GPU suite: one process a suite of cases, counted line by line, so that a crash loses nothing."""
import re

LINE = re.compile(r"^\[ *(RUN|OK|FAILED|SKIPPED) *\] ([\w/]+\.[\w/]+)")
MOST_RESTARTS = 8  # of one suite whose cases crash


def list_cases(suite, name, chosen="*"):
    """{suite of cases: [case]} of a program, as --gtest_list_tests prints them."""
    outcome = suite.run([suite.program(name), "--gtest_list_tests", f"--gtest_filter={chosen}"], check=True)
    cases, group = {}, None
    for line in outcome.output.splitlines():
        word = line.split("#")[0].rstrip()
        if re.fullmatch(r"[\w/]+\.", word):
            group = cases.setdefault(word[:-1], [])
        elif group is not None and re.fullmatch(r"  [\w/]+", word):
            group.append(word.strip())
    return cases


class Counts:
    """What the cases of one suite did. `failures`: a line for each case that failed, with what ended it."""

    def __init__(self):
        self.passed, self.failed, self.skipped, self.not_run, self.seconds = 0, 0, 0, 0, 0.0
        self.failures, self.said = [], ""

    def read(self, outcome, cases):
        """Counts one process that was to run `cases`; returns the cases that it did not come to."""
        running, left = None, list(cases)
        for line in outcome.output.splitlines():
            match = LINE.match(line)
            if not match:
                continue
            what, case = match.groups()
            if what == "RUN":
                running = case
            elif case == running:  # the list of failed cases at the end repeats their names
                running = None
                if case in left:
                    left.remove(case)
                self.add(what, case)
        self.seconds += outcome.seconds
        if running:
            left = [case for case in left if case != running]
            self.add("FAILED", running, outcome.ending)
            self.said = outcome.said
        elif outcome.code != 0 or outcome.timed_out:
            if not self.failures:
                self.add("FAILED", "no case", outcome.ending)
            self.said = outcome.said
        return left

    def add(self, what, case, why="failed"):
        if what == "OK":
            self.passed += 1
        elif what == "SKIPPED":
            self.skipped += 1
        else:
            self.failed += 1
            self.failures.append(f"{case}: {why}")

    def report(self):
        words = {"passed": self.passed, "failed": self.failed, "skipped": self.skipped, "not_run": self.not_run,
                 "seconds": round(self.seconds, 1)}
        return {**words, **({"failures": self.failures, "said": self.said} if self.failures else {})}


def run_group(suite, name, group, cases, seconds, env=None, counts=None):
    """The cases of one suite. After a crash the rest runs in another process; after a time-out it is not run."""
    counts = counts or Counts()
    left = [f"{group}.{case}" for case in cases]
    for _ in range(MOST_RESTARTS):
        outcome = suite.run([suite.program(name), f"--gtest_filter={':'.join(left)}"], seconds - counts.seconds, env=env)
        before, left = left, counts.read(outcome, left)
        crashed = outcome.code < 0 and not outcome.timed_out
        if not left or not crashed or left == before or seconds - counts.seconds < 2:
            break
    counts.not_run += len(left)
    suite.last_output = outcome.output
    return counts
