"""Random numbers, threads, devices, caches, validation: what knows no model."""
