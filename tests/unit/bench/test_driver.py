"""The driver's arithmetic: medians and spreads, verdicts, rankings of two runs, which round is next, which reasons are shown."""

import os
import sys
import types
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "bench", "driver"))

import document  # noqa: E402
import summary  # noqa: E402
from plan import Pace, Plan, Progress  # noqa: E402
from workloads import Figure, Workload  # noqa: E402

FIGURE = Figure("row", "A row", "value", "ops/s", True)


def cell(*values, figure=FIGURE):
    samples = [{figure.key: value, "user_s": 1.0, "system_s": 0.25} for value in values]
    return {"status": "ok", **summary.cell(samples, figure)}


def row(cells, more_is_better=True):
    result = {"name": "row", "title": "A row", "unit": "ops/s" if more_is_better else "us", "ask": None, "ask_alone": None,
              "more_is_better": more_is_better, "cells": cells}
    summary.summarise(result)
    return result


class Figures(unittest.TestCase):
    def test_median_and_quartiles(self):
        self.assertEqual(summary.quartile([4, 1, 3, 2, 5], 0.25), 2)
        self.assertEqual(summary.quartile([4, 1, 3, 2], 0.75), 3.25)
        one = cell(100, 102, 98, 101, 99)
        self.assertEqual(one["median"], 100)
        self.assertAlmostEqual(one["spread_percent"], 2.0)
        self.assertAlmostEqual(one["kernel_percent"], 20.0)

    def test_one_wild_round_of_five_is_no_spread(self):
        self.assertAlmostEqual(cell(100, 100, 100, 100, 1000)["spread_percent"], 0.0)

    def test_few_rounds_are_judged_by_their_range(self):
        self.assertAlmostEqual(cell(100, 110, 90)["spread_percent"], 20.0)

    def test_less_is_better_is_turned_round(self):
        self.assertEqual(row({"glibc": cell(200), "hakmem": cell(50)}, False)["cells"]["hakmem"]["ratio"], 4.0)

    def test_verdicts(self):
        quiet = {"glibc": cell(100, 100, 100), "peer": cell(150, 150, 150)}
        for values, verdict in (((160,) * 3, "ahead"), ((151,) * 3, "even"), ((140,) * 3, "behind"),
                                ((130, 160, 190), "even")):
            self.assertEqual(row({**quiet, "hakmem": cell(*values)})["cells"]["hakmem"]["verdict"], verdict, values)

    def test_noisy_rows_say_so(self):
        self.assertFalse(row({"glibc": cell(100, 101, 102), "hakmem": cell(100, 100, 100)})["noisy"])
        self.assertTrue(row({"glibc": cell(100, 101, 102), "hakmem": cell(90, 100, 100)})["noisy"])

    def test_a_row_without_its_reference_has_no_ratio(self):
        one = row({"glibc": {"status": "crash", "reason": "signal 11"}, "hakmem": cell(100)})
        self.assertNotIn("ratio", one["cells"]["hakmem"])
        self.assertNotIn("best_peer", one)


class Comparison(unittest.TestCase):
    def outcome(self, old, new):
        return [found[1] for found in summary.compare({"rows": {"row": row(old)}}, {"rows": {"row": row(new)}})]

    def test_quiet_rows(self):
        old = {"glibc": cell(*[100] * 3), "peer": cell(*[150] * 3), "hakmem": cell(*[160] * 3)}
        self.assertEqual(self.outcome(old, old), ["same"])
        self.assertEqual(self.outcome(old, {**old, "hakmem": cell(*[148] * 3)}), ["same"])  # level now: no change of places
        self.assertEqual(self.outcome(old, {**old, "hakmem": cell(*[120] * 3)}), ["changed"])

    def test_a_noisy_allocator_says_nothing_of_the_others(self):
        old = {"glibc": cell(*[100] * 3), "peer": cell(100, 150, 200), "hakmem": cell(*[160] * 3)}
        self.assertEqual(self.outcome(old, {**old, "peer": cell(*[300] * 3)}), ["same"])
        self.assertEqual(self.outcome(old, {**old, "hakmem": cell(*[80] * 3)}), ["changed"])

    def test_noisy_and_missing_rows_are_told(self):
        old = {"glibc": cell(*[100] * 3), "hakmem": cell(*[160] * 3)}
        self.assertEqual(self.outcome(old, {"glibc": cell(*[100] * 3), "hakmem": cell(50, 80, 90)}), ["noisy"])
        self.assertEqual(self.outcome(old, {"glibc": cell(100), "hakmem": cell(50)}), ["noisy"])  # one round tells no spread
        self.assertEqual(self.outcome(old, {"glibc": cell(*[100] * 3)}), ["missing"])
        self.assertEqual([one[1] for one in summary.compare({"rows": {"a": row(old)}}, {"rows": {}})], ["missing"])


def run_plan(pace, rows):
    """Rounds that each row gets: `rows` is {name: (seconds of a round, function of the round's number to a value)}."""
    clock = types.SimpleNamespace(now=0.0)
    plan = Plan(pace, 0.0, lambda: clock.now)
    progress = [Progress(Workload(name, "", "", (FIGURE,)), {"glibc": {"status": "ok", "samples": []}}) for name in rows]
    order = []
    while one := plan.next(progress):
        seconds, value = rows[one.workload.name]
        one.results["glibc"]["samples"].append({"value": value(one.n_rounds)})
        one.n_rounds += 1
        one.seconds += seconds
        clock.now += seconds
        order.append(one.workload.name)
    return {one.workload.name: one.n_rounds for one in progress}, order, clock.now


class Rounds(unittest.TestCase):
    quiet, wild = staticmethod(lambda n: 100), staticmethod(lambda n: 100 + 40 * (n % 3))

    def test_every_row_gets_its_rounds_in_turn(self):
        _, order, _ = run_plan(Pace(3, 3, 1000), {"a": (1, self.quiet), "b": (1, self.quiet)})
        self.assertEqual(order, ["a", "b"] * 3)

    def test_noisy_rows_get_what_is_left(self):
        counts, _, _ = run_plan(Pace(3, 9, 30), {"quiet": (1, self.quiet), "wild": (1, self.wild)})
        self.assertEqual(counts, {"quiet": 3, "wild": 9})

    def test_time_is_kept(self):
        counts, _, took = run_plan(Pace(3, 9, 50), {str(i): (1, self.wild) for i in range(20)})
        self.assertLessEqual(took, 50)
        self.assertGreaterEqual(min(counts.values()), 2)

    def test_every_row_is_run_once_however_late(self):
        counts, _, _ = run_plan(Pace(3, 9, 5), {str(i): (2, self.wild) for i in range(10)})
        self.assertEqual(set(counts.values()), {1})

    def test_fixed_rounds_heed_no_clock(self):
        counts, _, _ = run_plan(Pace(4, 4, 0), {"a": (1000, self.quiet), "b": (1, self.wild)})
        self.assertEqual(counts, {"a": 4, "b": 4})


class Reasons(unittest.TestCase):
    def losses(self, hakmem, why):
        rows = [row({"glibc": cell(*[100] * 3), "hakmem": cell(*[hakmem] * 3)})]
        return document.losses(rows, why)

    def test_only_rows_behind_are_explained(self):
        why = {"row": "Because of the moon."}
        self.assertIn("Because of the moon.", self.losses(50, why))
        self.assertNotIn("moon", self.losses(200, why))

    def test_a_row_behind_without_a_reason_says_so(self):
        self.assertIn("Not yet explained", self.losses(50, {}))

    def test_an_alone_reason_is_not_the_other_row_s(self):
        self.assertIn("Not yet explained", self.losses(50, {"row/hakmem-alone": "No daemon."}))

    def test_every_reason_names_a_row(self):
        self.assertEqual(document.unknown_reasons(), [])


if __name__ == "__main__":
    unittest.main()
