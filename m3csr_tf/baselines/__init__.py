"""Rivals in closed form, a file each, with the settings that each one is tuned over."""
