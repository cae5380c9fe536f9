"""Passes over a lowered model: each states what it requires and ensures, and logs Steps."""
