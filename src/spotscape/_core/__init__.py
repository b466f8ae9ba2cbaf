"""The foundation: keys, settings, validation, randomness, devices, logging, and AnnData in and out."""
