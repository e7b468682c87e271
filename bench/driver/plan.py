"""Which round is run next: every row gets the same few rounds, then the noisy ones get what time is left.

A round is one run with every allocator, in turn. The rounds of a row are spread over the whole run (round 1 of every row,
round 2 of every row, ...), so that a machine that is slow for a minute is slow for one round of a row, not for all.
"""

import time
from dataclasses import dataclass

import summary

QUIET_PERCENT = 2.0  # a row below this is left alone


@dataclass
class Pace:
    least: int  # rounds of every row, if time allows
    most: int
    seconds: float  # for all rows together; 0: no limit, and always `most` rounds


FULL, QUICK = Pace(3, 9, 760.0), Pace(1, 3, 110.0)


@dataclass
class Progress:
    """One workload's rounds so far."""

    workload: object
    results: dict
    n_rounds: int = 0
    seconds: float = 0.0
    is_over: bool = False  # nothing more is to be had: every allocator has failed

    def may_go_on(self, pace):
        return not self.is_over and self.n_rounds < min(pace.most, self.workload.max_rounds)

    def round_seconds(self):
        return self.seconds / self.n_rounds if self.n_rounds else 0.0

    def noise(self):
        """Per cent: the largest spread of its cells; unknown, and so large, after a single round."""
        if self.n_rounds < 2:
            return 100.0
        spreads = [one["spread_percent"] for figure in self.workload.figures for result in self.results.values()
                   if result["status"] == "ok" and (one := summary.cell(result["samples"], figure))]
        return max(spreads, default=0.0)


class Plan:
    """`clock` is for tests."""

    def __init__(self, pace, started, clock=time.monotonic):
        self.pace = pace
        self.started = started
        self.clock = clock

    def seconds_left(self):
        return self.started + self.pace.seconds - self.clock() if self.pace.seconds else float("inf")

    def next(self, progress):
        """The Progress to give a round to, or None: the run is over."""
        open_rows = [one for one in progress if one.may_go_on(self.pace)]
        if not self.pace.seconds:
            return min(open_rows, key=lambda one: one.n_rounds, default=None)
        behind = [one for one in open_rows if one.n_rounds < self.pace.least]
        if behind:
            first = min(behind, key=lambda one: one.n_rounds)
            # The first round of a row is run however late it is.
            if first.n_rounds == 0 or first.round_seconds() < self.seconds_left():
                return first
            behind.remove(first)
        noisy = [one for one in open_rows if one.n_rounds and one.round_seconds() < self.seconds_left()
                 and one.noise() > QUIET_PERCENT]
        # Two rounds more of a row help it less than one did: noise by the rounds that it has had already.
        return max(noisy, key=lambda one: one.noise() / one.n_rounds, default=None)
