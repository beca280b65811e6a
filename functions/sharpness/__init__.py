"""How sharp an image and what was found on it are."""
