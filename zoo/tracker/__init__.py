"""Where a run also goes, beside its own folder: one file a tracker, behind one interface."""
