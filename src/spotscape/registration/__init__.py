"""Registration of slices: rotations and shifts found from the outline of the tissue, its interior, and features."""
