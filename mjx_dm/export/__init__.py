"""A policy to take away: files that act without this package, and say what they are."""
