"""Networks as mixed-integer linear problems: the formulation, the solvers, the margins of their word."""
