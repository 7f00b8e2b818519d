"""The replay ring, one step of all worlds, and the program that advances a whole run."""
