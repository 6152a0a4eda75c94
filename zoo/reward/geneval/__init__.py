"""GenEval's scoring, for any detector: what a prompt asks for, and what found objects are worth."""
