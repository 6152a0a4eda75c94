"""The published networks that several rewards share, and what they are fed."""
