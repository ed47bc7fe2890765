"""The commands by subject: what can be typed, and what is done then."""
