"""How well do domains agree with the annotation? Tissues × settings × seeds, run, scored and reported."""
