"""The algorithms: one file each, behind one interface."""
