"""Judges what a run left behind, without sharing a line with what it judges."""
