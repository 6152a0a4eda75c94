"""Files that are written whole or not at all, and what is kept of what can be fetched again."""
