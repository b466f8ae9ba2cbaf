"""The ground floor: keys, settings, validation, randomness, devices, logging, and AnnData in and out."""
