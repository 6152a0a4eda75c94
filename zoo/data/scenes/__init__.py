"""A GenEval in miniature: coloured shapes on a plain ground, asked for in GenEval's six kinds."""
