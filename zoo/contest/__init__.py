"""Running a suite: one run after another, each a process of its own."""
