"""``config``: the settings."""
