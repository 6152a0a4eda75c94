"""Pages for people to read: of one run, and of contenders side by side."""
