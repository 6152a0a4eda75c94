"""Running a suite: its runs one after another, each in a process of its own."""
