"""Groups compared: what a policy does to whom, with intervals, power, and verdicts against tolerances fixed in advance."""
