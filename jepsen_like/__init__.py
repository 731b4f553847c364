"""Drills: real processes are broken on purpose under load, and what they promised is checked afterwards."""
