#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rule itself: what tests/system/folded_rule.py must accept and refuse."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "system"))
import folded_rule  # noqa: E402


class FoldedRule(unittest.TestCase):
    def test_good_lines(self):
        for line in ("app;main.main;[chan receive] 12", "app;read_[k];[pipe] 1", "app;f (int, long);[IO wait] 7",
                     "app;go.shape.struct { a bool: b string };[select] 3"):
            self.assertIsNone(folded_rule.broken_rule(line), line)

    def test_broken_lines(self):
        for line, words in (("app;f", "speedscope"), ("app;f 1.5", "speedscope"), ("app;f  3", "space"),
                            ("app;f 12 3", "two columns"), ("app;f 1.5 3", "two columns"),
                            ("app;f\t9 3", "control"), ("app;;f 3", "empty"), ("app; f;[x] 3", "space"),
                            ("my app;f 3", "comm"), ("app;f 0", "nothing"), ("app;f\x85g 3", "control"),
                            ("# comment", "speedscope"), ("", "speedscope")):
            self.assertIn(words, folded_rule.broken_rule(line) or "accepted", line)

    def test_files(self):
        self.assertEqual(folded_rule.check(b""), [])
        self.assertEqual(folded_rule.check(b"a;b 1\na;c 2\n"), [])
        self.assertEqual(folded_rule.check(b"a;c 1\na;b 2\n"), [(0, "is not sorted by bytes")])
        self.assertEqual(folded_rule.check(b"a;b 1\na;b 2\n"), [(0, "has a stack twice")])
        self.assertEqual(folded_rule.check(b"a;b 1"), [(0, "does not end in a newline")])
        self.assertIn("UTF-8", folded_rule.check(b"a;\xff 1\n")[0][1])
        self.assertEqual(folded_rule.check(b"a;b 1\n\n")[0][0], 2)


if __name__ == "__main__":
    unittest.main()
