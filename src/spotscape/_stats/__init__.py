"""Statistics in NumPy: no torch and no AnnData."""
